"""Gathers the evidence: runs every model once over the parts that the chosen metrics need, and keeps the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unlearnkit.audit.doubts import Doubt, Value
from unlearnkit.audit.evidence import Attacks, Evidence, Outputs, Relearning, Returned, Subject, Untrained, Want
from unlearnkit.audit.metric import TRAINING, Metric
from unlearnkit.audit.observe.account import Account
from unlearnkit.audit.observe.attacking import attack
from unlearnkit.audit.observe.distances import layer_distances, unchanged_share
from unlearnkit.audit.observe.feature_layers import choose_layers, collecting
from unlearnkit.audit.observe.relearning import CAP, RelearnGoal, goal_parts, relearn
from unlearnkit.audit.observe.returning import returned
from unlearnkit.audit.observe.sampling import StandIns, chosen_samples, tier_of
from unlearnkit.audit.observe.untrained import incompetent
from unlearnkit.audit.reading import ModelName
from unlearnkit.data import AccessLog, DataView, ImageData, PartSamples
from unlearnkit.errors import ConfigError, ModelError, NonFiniteLossError, StageLossError
from unlearnkit.models.head import find_head
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Split
from unlearnkit.training.predict import predict

T = TypeVar("T")
NAMES = ("original", "unlearned", "retrained")
IMAGES = 10_000  # samples that each model is run on by default


def gather(
    models: Mapping[ModelName, nn.Module | Sequence[nn.Module]],
    data: ImageData,
    split: Split,
    *,
    metrics: Iterable[Metric],
    seed: int,
    runtime: Runtime | None = None,
    access: AccessLog | None = None,
    costs: Mapping[tuple[ModelName, int], Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
    images: int | None = IMAGES,
    stand_ins: ImageData | None = None,
    head: str | None = None,
    earlier: Evidence | None = None,
    shadows: Sequence[nn.Module] = (),
    relearn_cap: int = CAP,
) -> Evidence:
    """Collect the evidence of all models on the same samples; no model is changed.

    Args:
        models: `original` and `unlearned`, and any number of `retrained` models.
        data: images under the model's class list.
        split: the parts.
        metrics: what will be computed, as far as it is made for the request; only what they want is gathered.
        seed: seed of the stratified draw and of the relearning runs.
        runtime: device and precision; precision `auto` is fp32 for all outputs, and what `Runtime.fitted` finds for
            relearning and the attacks, which train. The audit runs in one process.
        access: where reads are counted.
        costs: cost of making a model, by (name, replicate).
        progress: where progress is shown.
        images: about how many samples each model is run on, all parts together and the same ones for every model; None:
            all there are. The training runs of relearning and attacks draw their own.
        stand_ins: data of another origin for the forgotten classes, where `data` has none of them; what was never
            trained on cannot be a member, so membership of samples is not measured on them.
        head: name of the classifier head; default: it is found.
        earlier: evidence of some of these models, gathered with everything else the same. What it says of a model, by
            name and replicate, stands, and that model is not run again: many unlearned models are held against the same
            original and retrained ones.
        shadows: models from which the same method removed the same classes, each from an original of its own. They are
            run on the parts that a metric of shadows looks at. Without any, those of the earlier evidence stand.
        relearn_cap: steps after which relearning is given up; the spread of what is cut off is not known.

    Raises:
        ConfigError: there is not one model named `original`, another name is unknown, stand-ins come beside the
            forgotten classes themselves, or the earlier evidence is of other samples or for other metrics.
        ModelError: the models are not of one architecture, or `head` is none.
        DataError: the stand-ins lack a class or come in another shape.
    """
    chosen = [metric for metric in metrics if split.request.kinds <= metric.kinds]
    wants = frozenset().union(*(m.wants for m in chosen))
    parts = frozenset().union(*(m.parts for m in chosen))
    featured = frozenset().union(*(m.parts for m in chosen if "features" in m.wants))
    shadowed = frozenset().union(*(m.parts for m in chosen if "shadows" in m.wants))
    data.fix_shape(split.retained_row("the audit"))
    flat: list[tuple[ModelName, int, nn.Module]] = []
    for name, models_of_name in models.items():
        group = [models_of_name] if isinstance(models_of_name, nn.Module) else list(models_of_name)
        flat += [(name, i, model) for i, model in enumerate(group)]
    original = _checked(flat, shadows)
    one_process = (runtime or Runtime()).alone()
    runtime = one_process.fitted(original, data.shape, exact=True)
    # relearning and attacks may use a faster, less exact precision: they measure accuracies after training, not outputs
    training = one_process.fitted(original, data.shape)
    log = RunLog(runtime, progress or Silent(), decode_seconds=lambda: data.decode_seconds)
    view = DataView(data, split, frozenset(Part), reader="audit", log=access or AccessLog(data), device=runtime.device)
    if stand_ins is not None:
        view = StandIns(view, stand_ins)
        parts -= {Part.FORGET_TRAIN}
    generator = torch.Generator().manual_seed(seed)
    samples = chosen_samples(view, parts, images, generator)
    known = _known(earlier, split, samples, wants)
    layers = _Layers.of(original, data, head, featured) if featured else None
    account = Account(log)
    goal = None
    if wants & TRAINING and all(len(view.part(p)) for p in (Part.FORGET_TRAIN, *goal_parts(split.request))):
        with account.of("outputs", original), view.seeded_reads(seed):
            goal = RelearnGoal.of(original, view, generator=generator, runtime=training)
    outputs = partial(_outputs, view=view, runtime=runtime, log=log, seed=seed)
    subjects = []
    for name, replicate, model in flat:
        if (name, replicate) in known:
            subjects.append(known[name, replicate])
            continue
        label = name if name != "retrained" else f"{name} {replicate + 1}"
        relearning: tuple[Relearning | None, Doubt | None] = (None, None)
        back: tuple[Returned | None, Doubt | None] = (None, None)
        attacks: tuple[Attacks | None, Doubt | None] = (None, None)
        if goal is not None:
            run_options: dict[str, Any] = {"label": label, "runtime": training, "log": log}
            if "return" in wants:
                with account.of("return", model):
                    back = _attempt(partial(returned, model, view, goal, **run_options), view, seed)
            run_options["head"] = head
            if "relearn" in wants:
                again = partial(relearn, model, view, goal, cap=relearn_cap, **run_options)
                with account.of("relearning", model):
                    relearning = _attempt(again, view, seed)
            if "attacks" in wants:
                with account.of("few_shots", model):
                    attacks = _attempt(partial(attack, model, view, goal, **run_options), view, seed)
        with account.of("outputs", model):
            seen = outputs(model, samples, label, layers=layers)
        subjects.append(
            Subject(
                name=name,
                replicate=replicate,
                outputs=seen,
                distances=layer_distances(original, model) if "weights" in wants else None,
                unchanged=unchanged_share(original, model) if "weights" in wants else None,
                relearning=relearning[0],
                relearn_failure=relearning[1],
                returned=back[0],
                return_failure=back[1],
                attacks=attacks[0],
                attack_failure=attacks[1],
                cost=(costs or {}).get((name, replicate)),
            )
        )
    random = earlier.random if earlier else None
    asked = {part: chosen for part, chosen in samples.items() if part.forgotten}
    if "random" in wants and asked and random is None:
        with isolated_randomness(seed):
            untrained, drawn = incompetent(original)
        with account.of("outputs", untrained):
            random = Untrained(outputs=outputs(untrained, asked, "untrained"), drawn=drawn)
    seen_shadows = earlier.shadows if earlier and not shadows else ()
    asked = {part: chosen for part, chosen in samples.items() if part in shadowed}
    for i, model in enumerate(shadows if "shadows" in wants else ()):
        with account.of("outputs", model):
            seen_shadows = (*seen_shadows, outputs(model, asked, f"shadow {i + 1}"))
    return Evidence(
        request=split.request,
        subjects=tuple(subjects),
        tier=tier_of(view),
        random=random,
        shadows=seen_shadows,
        kinds=wants,
        spent=account.spent,
    )


def _outputs(
    model: nn.Module,
    samples: Mapping[Part, PartSamples],
    label: str,
    *,
    view: DataView,
    runtime: Runtime,
    log: RunLog,
    seed: int,
    layers: _Layers | None = None,
) -> dict[Part, Outputs]:
    """Run the model once over every part, on the same pixels as every model; collect features where wanted."""
    home = next(model.parameters()).device
    outputs = {}
    try:
        model.to(runtime.device)
        with log.stage(f"audit {label}", len(samples)) as stage, view.seeded_reads(seed):
            for part, chosen in samples.items():
                features: Mapping[str, Tensor] = {}
                if layers is not None and part in layers.parts:
                    with collecting(model, layers.names, layers.head, shape=layers.shape) as collected:
                        logits = predict(model, chosen, runtime)
                    features = collected.features()
                else:
                    logits = predict(model, chosen, runtime)
                outputs[part] = Outputs(
                    logits=logits, labels=chosen.labels, sampled_from=len(view.part(part)), features=features
                )
                stage.advance()
    finally:
        model.to(home)
    return outputs


def _known(
    earlier: Evidence | None, split: Split, samples: Mapping[Part, PartSamples], wants: frozenset[Want]
) -> dict[tuple[ModelName, int], Subject]:
    """Return the evidence that earlier work has collected already, after checking that its samples are these."""
    if earlier is None:
        return {}
    missing = sorted(wants - earlier.kinds - {"shadows", "random"})  # those two are not of a model in `earlier`
    if missing:
        raise ConfigError(
            f"Expected earlier evidence for the same metrics, but it has no {' and no '.join(missing)}; gather both "
            "with the same metrics."
        )
    known = {(s.name, s.replicate): s for s in earlier.subjects}
    for subject in known.values():
        same = earlier.request == split.request and subject.outputs.keys() == samples.keys()
        if not same or any(not torch.equal(o.labels, samples[part].labels) for part, o in subject.outputs.items()):
            raise ConfigError(
                "Expected earlier evidence of the same samples, but it is of others; gather both for the same request, "
                "from the same data, with the same metrics, seed and number of images."
            )
    return known


def _checked(models: Sequence[tuple[ModelName, int, nn.Module]], shadows: Sequence[nn.Module]) -> nn.Module:
    """Return the original, after checking that the models' names and weights fit together."""
    names = [name for name, _, _ in models]
    unknown = [name for name in names if name not in NAMES]
    if unknown or names.count("original") != 1 or names.count("unlearned") > 1:
        got = f"one is named {unknown[0]!r}" if unknown else f"got {', '.join(names)}"
        raise ConfigError(
            "Expected one model named 'original', one named 'unlearned' at most, and any number of 'retrained' ones, "
            f"but {got}; name them so, and give shadow models as `shadows`."
        )
    original = next(model for name, _, model in models if name == "original")
    shapes = {name: p.shape for name, p in original.named_parameters()}
    everyone: list[tuple[str, int, nn.Module]] = [*models, *(("shadow", i, m) for i, m in enumerate(shadows))]
    for name, replicate, model in everyone:
        theirs = {key: p.shape for key, p in model.named_parameters()}
        wrong = next((key for key, shape in shapes.items() if theirs.get(key) != shape), None)
        if wrong is not None or not shapes:
            raise ModelError(
                f"Expected models of one architecture, but {name} {replicate + 1} and the original differ in "
                f"{wrong or 'having parameters at all'}; give the same architecture for all."
            )
    return original


def _attempt(run: Callable[..., T], view: DataView, seed: int) -> tuple[T | None, Doubt | None]:
    """Run something that trains; return its result, or the reason for its failure, which costs one reading only."""
    try:
        with isolated_randomness(seed) as generator, view.seeded_reads(seed):
            return run(generator=generator), None
    except StageLossError as error:
        values: dict[str, Value] = {"stage": error.stage, "loss": str(error.loss), "step": error.step}
        return None, Doubt("stage_stopped", values)
    except (NonFiniteLossError, ModelError) as error:
        return None, Doubt("remark", {"text": str(error)})


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """Layers whose features are collected, the same in every model, and the parts of the data to do it on."""

    names: tuple[str, ...]
    head: str
    shape: tuple[int, int, int]
    parts: frozenset[Part]

    @classmethod
    def of(cls, original: nn.Module, data: ImageData, head: str | None, parts: frozenset[Part]) -> _Layers | None:
        """Choose the layers on the original; None where it has no head, which leaves metrics of features unknown."""
        classes, shape = len(data.classes), data.shape
        try:
            head = find_head(original, num_classes=classes, shape=shape, name=head)
            names = choose_layers(original, num_classes=classes, shape=shape)
        except ModelError:
            if head is not None:
                raise
            return None
        return cls(names=tuple(names), head=head, shape=shape, parts=parts)
