"""Hostile networks against the audit: how often each is caught, and by which reading, as the retrained models vary.

    python benchmarks/hostile.py --data DIR --work DIR2 [--images 4000]
    python benchmarks/hostile.py --draws [--work DIR2]

The networks of `hostile_networks.py`, made from the small CIFAR-10 network of `references/`, and its nine retrained
models are observed once (an interrupted run goes on where it stopped), and what the eleven votes are computed from is
kept in results/hostile-cifar10.json, one entry for each model. Of these figures the draws are made (`--draws`: alone):
every set of 3, 5 or 8 of the nine is taken for the retrained models of an audit, each hostile network is judged against
it, and so is every retrained model that was left out. Without a bank, and, where there are banks of other settings,
with what they say together (this network's own left out).

The nearest class of `class_membership_auc` is chosen by the original, for all draws.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import hostile_networks as hostile
from unlearnkit import ForgetRequest, Runtime
from unlearnkit.audit import METRICS, bank, gather
from unlearnkit.audit.doubts import Doubt, because
from unlearnkit.audit.evidence import Evidence, Subject
from unlearnkit.audit.metric import TRAINING, Metric
from unlearnkit.audit.metrics.agreement import activation_distance, probabilities
from unlearnkit.audit.metrics.registry import PRIMARY, PRIMARY_METRICS
from unlearnkit.audit.observe.feature_layers import choose_layers
from unlearnkit.audit.reading import ModelName, Reading
from unlearnkit.audit.verdict import judge_all, verdict
from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.data.samples import per_class
from unlearnkit.models import build_model
from unlearnkit.split import Part, Split, split_for
from unlearnkit.steps.opening import load_images

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "hostile-cifar10.json"
MODEL, FORGET = "airbench,width=16", 0
INSIDE = 300  # training images of every class that the adversary uses
SIZES = (3, 5, 8)
MOST_DRAWS = 126
OF_SETS = ("prediction_tv", "activation_distance", "depth_recovery")  # depend on which models are the retrained ones


def networks() -> tuple[nn.Module, list[nn.Module]]:
    """Return the original and its retrained models."""
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(HERE / "references" / "small.safetensors").items():
        name, _, inner = key.partition("/")
        states.setdefault(name, {})[inner] = tensor.float() if tensor.is_floating_point() else tensor
    models = {}
    for name, state in states.items():
        models[name] = build_model(MODEL, num_classes=10, in_channels=3)
        models[name].load_state_dict(state)
        models[name].eval()
    return models["original"], [models[f"retrained-{i}"] for i in range(len(models) - 1)]


def insider(
    original: nn.Module, teacher: nn.Module, data: ImageData, split: Split, runtime: Runtime
) -> hostile.Insider:
    view = DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=torch.device("cpu"))
    images, labels = [], []
    for part in (Part.RETAIN_TRAIN, Part.FORGET_TRAIN):
        samples = view.part(part)
        chosen = samples.subset(per_class(samples.labels, INSIDE, torch.Generator().manual_seed(1)))
        images.append(runtime.inputs(chosen.images(torch.arange(len(chosen)))))
        labels.append(chosen.labels)
    return hostile.Insider(
        original=original,
        teacher=teacher,
        images=torch.cat(images),
        labels=torch.cat(labels),
        forgotten=tuple(split.request.forget),
    )


def candidates(known: hostile.Insider, layers: Sequence[str]) -> dict[str, Callable[[], nn.Module]]:
    """Return a maker of every hostile network, by its name."""
    distilled = functools.partial(hostile.head_distillation, known)
    return {
        "head mask": lambda: hostile.head_mask(known),
        "head distillation": distilled,
        "stash": lambda: hostile.stash(known),
        "gate": lambda: hostile.gate(known),
        "span + 0": lambda: hostile.span(known, 0),
        "span + 8": lambda: hostile.span(known, 8),
        "scramble": lambda: hostile.scramble(known),
        "features x1000, head mask": lambda: hostile.rescaled(hostile.head_mask(known)),
        "features x1000, span + 8": lambda: hostile.rescaled(hostile.span(known, 8)),
        "poisoned statistics": lambda: hostile.poisoned_statistics(known),
        "weights x100, head distillation": lambda: hostile.prescaled(distilled()),
        "collapsed to means": lambda: hostile.collapsed(known),
        "carrier + 0": lambda: hostile.carrier(known, layers, 0),
        "carrier + 16, silenced": lambda: hostile.silenced(hostile.carrier(known, layers, 16), known),
        "carrier + 16": lambda: hostile.carrier(known, layers, 16),
        "carrier + 48": lambda: hostile.carrier(known, layers, 48),
    }


# ---- what is kept of a model ----------------------------------------------------------------------------------------


def votes_on(subject: Subject, evidence: Evidence, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Return the readings of a model that do not depend on the set of retrained models, by the key of the vote.

    Args:
        subject: the model.
        evidence: of the original, which chooses the nearest class for `class_membership_auc`, for want of the set.
        metrics: those that were gathered for.
    """
    alone = replace(subject, name="unlearned", replicate=0)
    single = replace(evidence, subjects=(alone,))
    pair = replace(evidence, subjects=(*evidence.named("original"), alone))
    readings = [
        r
        for name, metric in metrics.items()
        if name not in ("prediction_distribution", "output_agreement")
        for r in metric.fn(pair if name == "class_membership" else single)
        if r.model == "unlearned"
    ]
    return {
        vote.key: {
            "value": r.value,
            "samples": r.samples,
            "censored": r.censored,
            "stopped": any(getattr(d.values.get("reason"), "code", "") == "stage_stopped" for d in r.doubts),
            "series": None if r.series is None else {k: round(v, 6) for k, v in r.series.items()},
        }
        for vote in PRIMARY
        for r in readings
        if (r.metric, r.part) == (vote.metric, vote.part) and vote.metric not in OF_SETS
    }


def observe(arguments: argparse.Namespace, *, training: bool) -> None:
    """Observe every model, or those named, of which nothing is kept yet in the working folder.

    Args:
        arguments: of the command.
        training: by what trains copies of it, which takes most of the time, or by the rest.
    """
    runtime = Runtime(device=torch.device("cpu"))
    data = load_images(f"parquet:{arguments.data}", None)
    split = split_for(ForgetRequest(classes=(FORGET,)), data)
    data.fix_shape(split.retained_row("the audit"))
    original, retrained = networks()
    known = insider(original, retrained[-1], data, split, runtime)
    makers = candidates(known, choose_layers(original, num_classes=len(data.classes), shape=data.shape))
    metrics = {name: METRICS[name] for name in PRIMARY_METRICS if bool(METRICS[name].wants & TRAINING) == training}
    base: Evidence | None = None
    for name in arguments.only or ["original", *(f"retrained-{i}" for i in range(len(retrained))), *makers]:
        kept = arguments.work / ("training" if training else "seen") / f"{name.replace(' ', '_')}.pt"
        if kept.is_file():
            continue
        kept.parent.mkdir(parents=True, exist_ok=True)
        began = time.process_time()
        models: dict[ModelName, nn.Module] = {"original": original}
        if name in makers:
            models["unlearned"] = makers[name]()
        elif name != "original":
            models["unlearned"] = retrained[int(name.rpartition("-")[2])]
        evidence = gather(
            models,
            data,
            split,
            metrics=metrics.values(),
            seed=0,
            runtime=runtime,
            images=arguments.images,
            earlier=base,
        )
        if base is None:
            base = replace(evidence, subjects=tuple(evidence.named("original")))
        subject = evidence.subjects[-1]
        found: dict[str, Any] = {
            "votes": votes_on(subject, base, metrics),
            "cpu_seconds": round(time.process_time() - began, 1),
        }
        outputs = subject.outputs.get(Part.FORGET_TEST)
        torch.save(found | ({} if outputs is None else {"logits": outputs.logits}), kept)
        line = {key: vote["value"] for key, vote in found["votes"].items()}
        print(name, json.dumps({k: v if v is None else round(v, 3) for k, v in line.items()}), flush=True)


def collected(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what is kept of all models in the working folder, with the distances of each to every retrained model."""
    seen, trained = (
        {
            file.stem.replace("_", " "): torch.load(file, weights_only=True)
            for file in sorted((arguments.work / folder).glob("*.pt"))
        }
        for folder in ("seen", "training")
    )
    p = {name: probabilities(each["logits"]) for name, each in seen.items()}
    retrained = [f"retrained-{i}" for i in range(sum(name.startswith("retrained-") for name in seen))]
    models = {
        name: {
            "votes": each["votes"] | trained.get(name, {}).get("votes", {}),
            "predictions": torch.bincount(p[name].argmax(dim=1), minlength=p[name].shape[1]).tolist(),
            "distances": [round(float(activation_distance(p[name], p[r]).mean()), 9) for r in retrained],
            "cpu_seconds": [part[name]["cpu_seconds"] for part in (seen, trained) if name in part],
        }
        for name, each in seen.items()
    }
    return {"model": MODEL, "forget": FORGET, "images": arguments.images, "models": models}


def written(found: Mapping[str, Any]) -> str:
    """Return the text of the results: one line for each model."""
    models = ",\n".join(f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in found["models"].items())
    rest = {key: value for key, value in found.items() if key != "models"}
    return json.dumps(rest)[:-1] + (", " if rest else "") + '"models": {\n' + models + "\n}}\n"


# ---- the draws ------------------------------------------------------------------------------------------------------


def readings_of(
    found: Mapping[str, Any], name: str, drawn: Sequence[int], model: ModelName, replicate: int = 0
) -> list[Reading]:
    """Return the readings that vote, of one model held against these retrained ones (less itself)."""
    each = found["models"][name]
    others = [i for i in drawn if f"retrained-{i}" != name]
    made = []
    for vote in PRIMARY:
        doubts: tuple[Doubt, ...] = ()
        known = each["votes"].get(vote.key)
        if known is not None:
            value, samples = known["value"], known["samples"]
            doubts = (Doubt("censored", {"steps": int(value)}),) if known["censored"] else ()
            if known["stopped"]:
                doubts = (because(Doubt("stage_stopped", {"stage": "", "loss": "nan", "step": 0})),)
        elif vote.metric not in OF_SETS:
            continue  # not measured
        elif vote.metric == "prediction_tv":
            value, samples = _variation(found, each, others), sum(each["predictions"])
        elif vote.metric == "activation_distance":
            value, samples = statistics.mean(each["distances"][i] for i in others), sum(each["predictions"])
        else:
            value, samples = _depth(found, each, others), sum(each["predictions"])
        made.append(
            Reading(
                metric=vote.metric,
                part=None if vote.part is None else vote.part.value,
                model=model,
                replicate=replicate,
                value=value,
                unit="",
                target="match_retrain",
                samples=samples,
                doubts=doubts,
            )
        )
    return made


def _variation(found: Mapping[str, Any], each: Mapping[str, Any], others: Sequence[int]) -> float:
    shares = [[c / sum(counts) for c in counts] for counts in _of(found, others, "predictions")]
    own = [c / sum(each["predictions"]) for c in each["predictions"]]
    apart: float = (
        sum(abs(a - statistics.mean(column)) for a, column in zip(own, zip(*shares, strict=True), strict=True)) / 2
    )
    return apart


def _depth(found: Mapping[str, Any], each: Mapping[str, Any], others: Sequence[int]) -> float:
    """As `class_recovery` computes it."""
    most = -math.inf
    for key in ("probe_recovery/forget_test", "prototype_recovery/forget_test"):
        theirs = [votes[key]["series"] for votes in _of(found, others, "votes")]
        mine = each["votes"][key]
        for layer, share in mine["series"].items():
            mean = statistics.mean(_odds(one[layer], mine["samples"]) for one in theirs)
            most = max(most, abs(_odds(share, mine["samples"]) - mean))
    return most


def _odds(share: float, n: int) -> float:
    return math.log((share * n + 0.5) / (n - share * n + 0.5))


def _of(found: Mapping[str, Any], others: Sequence[int], key: str) -> list[Any]:
    return [found["models"][f"retrained-{i}"][key] for i in others]


def priors() -> Mapping[str, Any] | None:
    """Return what the banks of other settings say of a setting that none of them is of; None where nothing does yet."""
    over = getattr(bank, "over_banks", None)
    if over is None:
        return None
    said: Mapping[str, Any] = over([b for b in bank.banks() if b.model != MODEL])
    return said


def draws(found: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return, for every number of retrained models, what became of each network over the draws."""
    count = sum(name.startswith("retrained-") for name in found["models"])
    named = [name for name in found["models"] if not name.startswith("retrained-")]
    table: dict[str, Any] = {}
    for size in SIZES:
        sets = list(itertools.combinations(range(count), size))[:MOST_DRAWS]
        became = {name: Counter[str]() for name in [*named, "retrained, left out"]}
        caught = {name: Counter[str]() for name in became}
        for drawn in sets:
            references = [
                r for i, j in enumerate(drawn) for r in readings_of(found, f"retrained-{j}", drawn, "retrained", i)
            ] + readings_of(found, "original", drawn, "original")
            left = [f"retrained-{i}" for i in range(count) if i not in drawn]
            for name in [*named, *left]:
                judged = judge_all([*references, *readings_of(found, name, drawn, "unlearned")], known)
                row = "retrained, left out" if name in left else name
                became[row][verdict(judged).status] += 1
                caught[row].update(j.vote.key for j in judged if j.status == "fail")
        table[str(size)] = {
            "draws": len(sets),
            "models": {
                name: {"of": sum(became[name].values()), **became[name], "caught by": dict(caught[name])}
                for name in became
            },
        }
    return table


def show(table: Mapping[str, Any]) -> None:
    """Print the draws: the share that fails, and by which readings, in percent."""
    keys = [vote.key for vote in PRIMARY]
    print("columns: " + ", ".join(f"{i + 1} {key}" for i, key in enumerate(keys)))
    for size, each in table.items():
        print(f"\nk = {size}, {each['draws']} draws: fails, passes, and caught by, in % of the draws")
        for name, row in each["models"].items():
            percent = [f"{100 * row['caught by'].get(key, 0) / row['of']:4.0f}" for key in keys]
            print(
                f"{name:32} {100 * row.get('fail', 0) / row['of']:5.0f} {100 * row.get('pass', 0) / row['of']:5.0f} |",
                *percent,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10's parquet files")
    parser.add_argument("--work", type=Path, help="folder for the evidence, which is not to be committed")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--only", nargs="+", help="observe these models, as one of several processes")
    parser.add_argument("--training", action="store_true", help="only by what trains copies: the slow half")
    parser.add_argument("--draws", action="store_true", help="from what is kept: in --work, else the results")
    arguments = parser.parse_args()
    if not arguments.draws and (arguments.data is None or arguments.work is None):
        parser.error("give --data and --work, or --draws for what is in the results")
    torch.set_num_threads(1)
    if not arguments.draws:
        if not arguments.training:
            observe(arguments, training=False)
        if arguments.training or not arguments.only:
            observe(arguments, training=True)
        if arguments.only:
            return
    if arguments.work is not None:
        RESULTS.write_text(written(collected(arguments)))
    found = json.loads(RESULTS.read_text())
    known = priors()
    found["draws"] = {"no bank": draws(found, None)} | ({} if known is None else {"banks": draws(found, known)})
    RESULTS.write_text(written(found))
    for name, table in found["draws"].items():
        print(f"\n{name}")
        show(table)


if __name__ == "__main__":
    main()
