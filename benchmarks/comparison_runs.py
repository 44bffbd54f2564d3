"""Makes each search and each run behind a comparison once, and keeps its weights and its audit."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from unlearnkit import Runtime, unlearn
from unlearnkit.audit import METRICS, Audit, Evidence, Metric, audit, gather
from unlearnkit.audit.bank import Bank, bank_for, priors_for
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.reading import SCHEMA, Reading
from unlearnkit.disk.files import read_regular, replace_file
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import ConfigError, UnlearnkitError, WeightsError, reason
from unlearnkit.methods import ConfiguredMethod
from unlearnkit.models.checkpoint import Checkpoint, checkpoint_bytes, read_checkpoint
from unlearnkit.run_dir import WEIGHTS, versions
from unlearnkit.runtime.terminal import print_line
from unlearnkit.steps.case import Case
from unlearnkit.steps.first_look import first_look
from unlearnkit.steps.references import open_references
from unlearnkit.steps.specs import CaseSpec
from unlearnkit.tuning import tune

TUNING_SEED = 1000  # apart from the seeds of the runs
AUDIT_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The models and the data on which a comparison runs every method.

    Args:
        case: the original, the data and the request.
        checkpoints: the original's and the three retrained models'.
        work: where finished runs are kept.
        metrics: what the audit computes: all, or those of the primary readings.
    """

    case: Case
    checkpoints: tuple[Checkpoint, ...]
    retrained: tuple[nn.Module, ...]
    work: Path
    runtime: Runtime
    metrics: Mapping[str, Metric]

    @classmethod
    def opened(
        cls,
        source: str,
        models: Path,
        work: Path,
        forget: list[str],
        metrics: Mapping[str, Metric] = METRICS,
        retrained: int = 3,
    ) -> Bench:
        """Open data and models; the original's file names the architecture.

        Raises:
            InputError: a file is missing, does not fit, or does not record how it is to be used.
        """
        weights = models / "original" / WEIGHTS
        original = read_checkpoint(weights)
        if original.card is None:
            raise WeightsError(
                f"Expected weights that record their architecture, classes and preprocessing, but {weights} does not, "
                "as another tool wrote it; make the folders original and retrained-0, -1, ... with `unlearnkit train` "
                "(--init starts from weights of another tool)."
            )
        spec = CaseSpec(weights=weights, data=source, forget=forget)
        case = Case.opened(spec, reader="the comparison", checkpoint=original)
        files = [models / f"retrained-{i}" / WEIGHTS for i in range(retrained)]
        references, _ = open_references(case, files, ())
        first_look(case, retrained=references)  # of retrained models that another tool wrote
        work.mkdir(parents=True, exist_ok=True)
        return cls(
            case=case,
            checkpoints=(case.checkpoint, *(checkpoint for checkpoint, _ in references)),
            retrained=tuple(model for _, model in references),
            work=work,
            runtime=Runtime(),
            metrics=metrics,
        )

    @cached_property
    def bank(self) -> Bank | None:
        """Return the committed spread of retrained models of this setting, where there is one."""
        case = self.case
        return bank_for(case.spec.data, case.classes, case.architecture, case.split.request.forget_names)

    @cached_property
    def references(self) -> Evidence:
        """Evidence on the original and the retrained models, gathered once, as it is the same for every method."""
        began = time.perf_counter()
        evidence = self._gathered()
        print_line(f"original and retrained models observed ({time.perf_counter() - began:.0f} s)")
        return evidence

    def run(self, name: str, method: ConfiguredMethod, seed: int) -> dict[str, Any]:
        """Unlearn and audit, or record why that failed; an existing result is read instead.

        The unlearned weights lie in a folder of their own, which depends on the original alone: held against other
        retrained models, audited in full after the primary readings, or by an audit that has changed (take its result
        away), they are not unlearned again.
        """
        inputs = {"seed": seed, **self._key(method)}
        priors = priors_for(self.bank)
        judges: dict[str, Any] = {
            "retrained": [checkpoint.sha256 for checkpoint in self.checkpoints[1:]],
            "metrics": list(self.metrics),
            "priors": {key: asdict(prior) for key, prior in priors.items()},
            "schema": SCHEMA,
        }

        def make() -> dict[str, Any]:
            unlearned, facts = self._unlearned(self.work / f"{name}-{_digest(inputs)}", method, seed)
            judged = audit(self._gathered(unlearned), self.metrics, priors=priors)
            return facts | summary(judged)

        return self._once(f"{name}, seed {seed}", name, inputs | judges, make)

    def tuned(self, name: str, method: ConfiguredMethod, trials: int, fixed: Sequence[str] = ()) -> dict[str, Any]:
        """Search the settings that `fixed` leaves open, or record why that failed; an existing result is read."""
        inputs = {"trials": trials, "fixed": list(fixed), **self._key(method)}
        return self._once(f"{name}, {trials} trials", f"tune-{name}", inputs, lambda: self._tune(method, trials, fixed))

    def _key(self, method: ConfiguredMethod) -> dict[str, Any]:
        """Return everything that the results of a run and of a search depend on."""
        return {
            "data": self.case.spec.data,
            "settings": method.model_dump(mode="json"),
            "forget": list(self.case.split.request.forget_names),
            "original": self.checkpoints[0].sha256,
            "version": versions()["unlearnkit"],
        }

    def _once(self, told: str, name: str, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.work / f"{name}-{_digest(key)}.json"
        if path.is_file():
            return _public(_kept(path, "key", "failure"))
        began = time.perf_counter()
        try:
            result = {"key": key, "failure": None, **make()}
        except UnlearnkitError as error:
            result = {"key": key, "failure": str(error)}
        written(path, result)
        print_line(f"{told}: {outcome(result)} ({time.perf_counter() - began:.0f} s)")
        return _public(result)

    def _unlearned(self, folder: Path, method: ConfiguredMethod, seed: int) -> tuple[nn.Module, dict[str, Any]]:
        """Return the unlearned model, and what the method read and cost.

        Both are read from the folder if they are in it, or else made and written to it.
        """
        weights, facts = folder / WEIGHTS, folder / "run.json"
        if facts.is_file():
            model = copy.deepcopy(self.case.model)
            read_checkpoint(weights).load_into(model)
            return model, _kept(facts, "read", "forget_samples_read", "cost")
        result = unlearn(
            self.case.model,
            method,
            self.case.data,
            self.case.request,
            seed=seed,
            runtime=self.runtime,
            factory=self.case.fresh,
            tolerance=None,  # the table has the accuracy on test data
        )
        parts: Any = result.access.summary(result.split)["parts"]
        measured = {
            "read": {part: sum(c["read_by_method"] for c in classes.values()) for part, classes in parts.items()},
            "forget_samples_read": result.access.forget_samples_read(result.split),
            "cost": result.cost["total"],
        }
        card = self.checkpoints[0].card
        assert card is not None  # as `opened` found it
        folder.mkdir(exist_ok=True)
        written(weights, checkpoint_bytes(result.model, card))
        written(facts, measured)  # last: it says that the weights are whole
        return result.model, measured

    def _tune(self, method: ConfiguredMethod, trials: int, fixed: Sequence[str]) -> dict[str, Any]:
        found = tune(
            self.case.model,
            method,
            self.case.data,
            self.case.request,
            seed=TUNING_SEED,
            trials=trials,
            fixed=fixed,
            runtime=self.runtime,
            factory=self.case.fresh,
        )
        return {
            "signal": found.signal.value,
            "space": {key: asdict(bounds) for key, bounds in found.space.items()},
            "best": found.best,
            "chosen": list(found.trials[found.best].settings),
            "scores": [trial.score for trial in found.trials],
            "tried": [list(trial.settings) for trial in found.trials],
            "forget_samples_read": found.access.forget_samples_read(found.split),
            "cost": found.cost["total"],
        }

    def _gathered(self, unlearned: nn.Module | None = None) -> Evidence:
        models: dict[Any, Any] = {"original": self.case.model, "retrained": self.retrained}
        return gather(
            models if unlearned is None else models | {"unlearned": unlearned},
            self.case.data,
            self.case.split,
            metrics=self.metrics.values(),
            seed=AUDIT_SEED,
            runtime=self.runtime,
            earlier=None if unlearned is None else self.references,
        )


def summary(judged: Audit) -> dict[str, Any]:
    """Return the primary readings with their judgements, the readings without a vote, and the verdict."""
    groups: dict[tuple[str, str | None], list[Reading]] = {}
    for reading in judged.readings:
        groups.setdefault((reading.metric, reading.part), []).append(reading)
    primary: dict[str, Any] = {}
    for vote in PRIMARY:
        group = groups.pop((vote.metric, vote.part))
        (own_reading,) = [r for r in group if r.model == "unlearned"]
        primary[vote.key] = {
            "family": vote.family,
            "status": own_reading.verdict,
            "gap": own_reading.gap,
            "band": None if own_reading.band is None else list(own_reading.band),
            **_values(group),
        }
    shown = {
        f"{metric}/{part}" if part else metric: _values(group)
        for (metric, part), group in groups.items()
        if not metric.startswith("cost")
    }
    return {"primary": primary, "shown": shown, "verdict": asdict(judged.verdict)}


def _values(group: Sequence[Reading]) -> dict[str, Any]:
    """Return a reading's value for every model, None where it does not apply, and the doubts about it."""
    single_models = {name: next((r for r in group if r.model == name), None) for name in ("unlearned", "original")}
    values = {name: None if reading is None else reading.value for name, reading in single_models.items()}
    doubted = {name: reading.doubts for name, reading in single_models.items() if reading is not None}
    doubted |= {f"retrained-{reading.replicate}": reading.doubts for reading in group if reading.model == "retrained"}
    return {
        "value": values["unlearned"],
        "original": values["original"],
        "retrained": [r.value for r in group if r.model == "retrained"],
        "doubts": {name: [asdict(doubt) for doubt in doubts] for name, doubts in doubted.items() if doubts},
    }


def _public(made: dict[str, Any]) -> dict[str, Any]:
    """Return what results may show of a run; the data's source is left out, as it can be a path on a user's disk."""
    return made | {"key": {name: value for name, value in made["key"].items() if name != "data"}}


def _kept(path: Path, *keys: str) -> dict[str, Any]:
    """Read what an earlier comparison has kept.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        found = parse_json(read_regular(path))
        missing = [key for key in keys if not isinstance(found, dict) or key not in found]
        if missing:
            raise ValueError(f"it has no {missing[0]!r}")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Expected a finished run of a comparison at {path}, but it is damaged ({reason(error)}); take the file "
            "away, and the run is made again."
        ) from error
    kept: dict[str, Any] = found
    return kept


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def outcome(made: dict[str, Any]) -> str:
    """Describe a finished search or run in one line."""
    if made["failure"]:
        return f"not possible: {made['failure']}"
    if "scores" in made:
        return f"best score {made['scores'][made['best']]:.3f} in trial {made['best']} {' '.join(made['chosen'])}"
    verdict = made["verdict"]
    gap = "none" if verdict["worst_gap"] is None else f"{verdict['worst_gap']:.2f} ({verdict['worst']})"
    return f"{verdict['status']}, worst gap {gap}"


def written(path: Path, content: dict[str, Any] | str | bytes) -> None:
    """Write a file atomically, in one rename."""
    if isinstance(content, dict):
        content = json.dumps(content, indent=1, allow_nan=False) + "\n"
    replace_file(path, content.encode() if isinstance(content, str) else content)
