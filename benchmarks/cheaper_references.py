"""Asks whether retrained models that cost less give the verdicts of full ones: fewer epochs, or a share of the data.

    python benchmarks/cheaper_references.py --work DIR --data DIR [--only digits-odd ...] [--training]

In each setting three models are retrained in each cheaper way, and the audit judges the same candidates by them as by
three full ones: the original, its head mask, `erase`, and retrained models that are no reference. Spreads are borrowed
from the banks of other settings, as where somebody has no bank. Models are kept in --work, so that an interrupted run
goes on; writes benchmarks/results/cheaper_references.json. Without --training nothing that trains is measured
(return), which takes most of the time.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audit_cifar10 import masked
from bank_settings import SETTINGS, Setting
from train_references import Opened, opened
from unlearnkit import ForgetRequest, Runtime
from unlearnkit.audit import METRICS, audit, gather
from unlearnkit.audit.bank import banks, over_banks
from unlearnkit.audit.evidence import Subject
from unlearnkit.audit.metric import TRAINING
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS
from unlearnkit.audit.reading import Audit, Reading
from unlearnkit.data import ImageData, ImageSet
from unlearnkit.data.samples import per_class
from unlearnkit.methods import Erase, Retrain, unlearn
from unlearnkit.models import build_model
from unlearnkit.run_dir import versions
from unlearnkit.split import split_for

OUT = Path(__file__).parent / "results" / "cheaper_references.json"
REFERENCES = 3  # the other retrained models of a setting are candidates, which must pass
EPOCHS = {"digits-odd": 10, "digits-pair": 10, "digits-mlp": 20, "cifar10-airbench16": 6}  # of a full training
SEED = 5000


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to retrain: the share of the training data of each class, and of the epochs, rounded to whole ones."""

    name: str
    data: float = 1.0
    epochs: float = 1.0


FULL = Way(name="full")
WAYS = (
    Way(name="half the epochs", epochs=1 / 2),
    Way(name="half the data", data=1 / 2),
    Way(name="a quarter of the data", data=1 / 4),
    Way(name="a third of the epochs", epochs=1 / 3),
)


def share_of(data: ImageData, share: float, seed: int) -> ImageData:
    """Return the data with so much of each class's training images, drawn at random."""
    if share == 1:
        return data
    generator = torch.Generator().manual_seed(seed)
    labels = data.train.labels
    rows = per_class(labels, round(share * len(labels) / len(data.classes)), generator)
    data.fix_shape(0)
    images = data.train.images(rows, torch.device("cpu"))
    return replace(data, train=ImageSet.from_tensor(images, labels[rows]))


def retrained(setting: Setting, way: Way, number: int, models: Opened, kept: Path) -> nn.Module:
    """Return a model that was retrained in this way, trained now where it is not kept yet."""
    data = models.data
    build = functools.partial(build_model, setting.model, num_classes=len(data.classes), in_channels=data.shape[0])
    file = kept / f"{way.name.replace(' ', '-')}-{number}.pt"
    if not file.is_file():
        began = time.process_time()
        method = Retrain().with_settings([f"epochs={max(1, round(way.epochs * EPOCHS[setting.name]))}"])
        request = ForgetRequest(classes=tuple(setting.forget))
        some = share_of(data, way.data, SEED + number)
        made = unlearn(models.original, method, some, request, seed=SEED + number, factory=build).model
        kept.mkdir(parents=True, exist_ok=True)
        torch.save(made.state_dict(), file)
        print(f"{setting.name}, {file.stem}: {time.process_time() - began:.0f} CPU seconds", flush=True)
    model = build()
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was observed of every model of a setting, to be judged by any of its references.

    Args:
        judge: retrained models and a candidate -> the audit.
        references: of each way of retraining.
        candidates: by name.
    """

    judge: Callable[[Sequence[Subject], Subject], Audit]
    references: Mapping[str, Sequence[Subject]]
    candidates: Mapping[str, Subject]


def seen(setting: Setting, ways: Sequence[Way], *, data: Path, work: Path, images: int, training: bool) -> Seen:
    """Train what is missing, and observe every model of a setting once."""
    runtime = Runtime(device=torch.device("cpu"))
    models = opened(setting, data=data, work=work, runtime=runtime)
    split = split_for(ForgetRequest(classes=tuple(setting.forget)), models.data)
    models.data.fix_shape(split.retained_row("the audit"))
    kept = work / "cheaper" / setting.name
    groups = {FULL.name: models.retrained[:REFERENCES]} | {
        way.name: [retrained(setting, way, i, models, kept) for i in range(REFERENCES)] for way in ways
    }
    request = ForgetRequest(classes=tuple(setting.forget))
    others = {
        "head mask": masked(models.original, list(split.request.forget), models.data),
        "erase": unlearn(models.original, Erase(), models.data, request, seed=0, runtime=runtime).model,
    } | {f"retrained {i}": model for i, model in enumerate(models.retrained[REFERENCES:])}
    metrics = {name: METRICS[name] for name in PRIMARY_METRICS if training or not METRICS[name].wants & TRAINING}
    flat = [model for group in groups.values() for model in group] + list(others.values())
    evidence = gather(
        {"original": models.original, "retrained": flat},
        models.data,
        split,
        metrics=metrics.values(),
        seed=0,
        runtime=runtime,
        images=images,
    )
    original, *subjects = evidence.subjects
    taken = iter(subjects)
    references = {name: [next(taken) for _ in group] for name, group in groups.items()}
    candidates = {"original": original} | {name: next(taken) for name in others}
    priors = over_banks([bank for bank in banks() if bank.name != setting.name])

    def judge(by: Sequence[Subject], candidate: Subject) -> Audit:
        judged = replace(candidate, name="unlearned", replicate=0)
        numbered = [replace(subject, replicate=i) for i, subject in enumerate(by)]
        return audit(replace(evidence, subjects=(original, judged, *numbered)), metrics, priors=priors)

    return Seen(judge=judge, references=references, candidates=candidates)


def rows(setting: Setting, found: Seen) -> list[dict[str, Any]]:
    """Judge every candidate by the references of every way."""
    made = []
    for way, references in found.references.items():
        for name, candidate in found.candidates.items():
            judged = found.judge(references, candidate)
            own = [r for r in judged.readings if r.model == "unlearned" and r.verdict is not None]
            row = {
                "setting": setting.name,
                "references": way,
                "candidate": name,
                "verdict": judged.verdict.status,
                "fails by": [f"{r.metric}/{r.part}" for r in own if r.verdict == "fail"],
                "worst": judged.verdict.worst,
                "worst gap": judged.verdict.worst_gap,
                "readings": {f"{r.metric}/{r.part}": [r.value, r.band, r.verdict] for r in own},
                "references' values": {
                    f"{r.metric}/{r.part}": [s.value for s in judged.readings if _same(s, r)] for r in own
                },
            }
            made.append(row)
            print(f"{setting.name:20} {way:22} {name:12} {row['verdict']:8} {row['fails by']}", flush=True)
    return made


def _same(one: Reading, other: Reading) -> bool:
    return one.model == "retrained" and (one.metric, one.part) == (other.metric, other.part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar10")
    parser.add_argument("--only", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--ways", nargs="+", choices=[way.name for way in WAYS], default=[way.name for way in WAYS])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--training", action="store_true", help="also what trains copies: most of the time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made: dict[str, Any] = json.loads(OUT.read_text()) if OUT.is_file() else {"benchmark": "cheaper_references"}
    for name in arguments.only:
        began = time.process_time()
        found = seen(
            SETTINGS[name],
            [way for way in WAYS if way.name in arguments.ways],
            data=arguments.data,
            work=arguments.work,
            images=arguments.images,
            training=arguments.training,
        )
        made.setdefault("settings", {})[name] = {
            "training": arguments.training,
            "rows": rows(SETTINGS[name], found),
            "cpu_seconds": round(time.process_time() - began),
        }
        made["versions"] = versions()
        OUT.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
