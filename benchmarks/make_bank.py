"""Makes banks: the primary readings of an original, of its head mask, and of models retrained without some classes.

    python benchmarks/make_bank.py --work DIR --data DIR [--only NAME ...]

Measures every setting of `bank_settings.py`, or those named, after training what is not trained yet (`--work` keeps the
models; `references/` holds some), and writes src/unlearnkit/audit/banks/NAME.json. A bank of a setting of one's own is
a line in that table.

Distances to the retrained models are those to all the others. Three readings depend on which retrained models a model
is held against; of these, what they are computed from is kept for every model, so that `check_prior.py` can ask for any
subset: predictions by class, distances between outputs, and samples recalled by layer. The nearest classes of
`class_membership_auc` are chosen by all retrained models.

Relearning goes on for longer than in an audit, and s0 is that of the times as an audit's cap cuts them off: which
models are there just before it would otherwise hang on its last measurement.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from audit_cifar10 import masked
from bank_settings import SETTINGS
from train_references import Opened, from_checkpoints, opened
from unlearnkit import ForgetRequest, Runtime
from unlearnkit.audit import METRICS, audit, gather
from unlearnkit.audit.evidence import Evidence, Subject
from unlearnkit.audit.metrics.agreement import activation_distance, probabilities
from unlearnkit.audit.metrics.registry import PRIMARY, PRIMARY_METRICS
from unlearnkit.audit.observe.relearning import CAP
from unlearnkit.audit.reading import Reading
from unlearnkit.audit.verdict import Scale
from unlearnkit.cli.progress import progress_for_stderr
from unlearnkit.errors import ConfigError
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import WEIGHTS, versions
from unlearnkit.runtime.progress import Progress
from unlearnkit.split import Part, split_for

RELEARN_CAP = 192
BANKS = Path(__file__).parent.parent / "src" / "unlearnkit" / "audit" / "banks"
CONTROLS = {"original": "original", "head-mask": "unlearned"}  # a control's name here, and what an audit calls it


def bank(
    *,
    name: str,
    source: str,
    model: str,
    forget: Sequence[str],
    folders: Sequence[Path],
    settings: Sequence[str] = (),
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The content of a bank's file, from models that are trained already.

    Args:
        name: of the bank.
        source: the data source.
        model: name of the architecture.
        forget: the classes that the retrained models never saw.
        folders: the run folders of the retrained models, and last the original's.
        settings: changes of the recipe that they were trained by, to be recorded.
        runtime: device and precision.
        progress: where progress is shown.

    Raises:
        ConfigError: a primary reading could not be taken of every model.
    """
    models = from_checkpoints(source, model, [read_checkpoint(folder / WEIGHTS) for folder in folders])
    told = {"name": name, "data": source.partition(":")[0], "model": model, "settings": list(settings)}
    return told | measured(models, forget, runtime=runtime or Runtime(), progress=progress)


def measured(
    models: Opened, forget: Sequence[str], *, runtime: Runtime, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure the primary readings of retrained models and controls; the arguments are those of `bank`."""
    data, count = models.data, len(models.retrained)
    split = split_for(ForgetRequest(classes=tuple(forget)), data)
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    metrics = {key: METRICS[key] for key in PRIMARY_METRICS}
    began = time.process_time()
    evidence = gather(
        {
            "original": models.original,
            "unlearned": masked(models.original, list(split.request.forget), data),
            "retrained": models.retrained,
        },
        data,
        split,
        metrics=metrics.values(),
        seed=0,
        runtime=runtime,
        progress=progress,
        relearn_cap=RELEARN_CAP,
    )
    readings = audit(evidence, metrics).readings
    return {
        "classes": list(data.classes),
        "forget": list(split.request.forget_names),
        "models": count,
        "relearn_cap": RELEARN_CAP,
        "readings": _content(readings, count),
        "sets": _sets(evidence, readings),
        "cpu_seconds": round(time.process_time() - began),
        "hardware": {"device": str(runtime.device), "machine": platform.machine(), "threads": torch.get_num_threads()},
        "versions": versions(),
    }


def _content(readings: Sequence[Reading], count: int) -> dict[str, Any]:
    """Return values of the retrained models, their spread, and values of the controls, by the key of the reading."""
    content: dict[str, dict[str, Any]] = {}
    for primary in PRIMARY:
        group = [r for r in readings if (r.metric, r.part) == (primary.metric, primary.part) and r.value is not None]
        values = [r.value for r in group if r.model == "retrained" and r.value is not None]
        controls = {name: [r.value for r in group if r.model == called] for name, called in CONTROLS.items()}
        if len(values) < count or not all(controls.values()):
            reasons = {d for r in readings if (r.metric, r.part) == (primary.metric, primary.part) for d in r.doubts}
            raise ConfigError(f"{primary.key} was measured on {len(values)} of {count} models: {reasons}")
        scale = Scale(kind=primary.scale, samples=min((r.samples or 0 for r in group), default=0))
        cut = [min(value, CAP) if primary.scale == "time" else value for value in values]
        content[primary.key] = {
            "values": values,
            "controls": {name: found[0] for name, found in controls.items()},
            "samples": scale.samples,
            "s0": statistics.stdev(scale.to(value) for value in cut),
        }
    return content


def _sets(evidence: Evidence, readings: Sequence[Reading]) -> dict[str, Any]:
    """Return what the readings that depend on the set of retrained models are computed from, by model.

    A model is named by its number among the retrained ones, or as a control.
    """
    part, classes = Part.FORGET_TEST, len(evidence.request.classes)
    named = {_name(s): s for s in evidence.subjects}
    retrained = evidence.named("retrained")
    probability = {name: probabilities(s.outputs[part].logits) for name, s in named.items()}
    recalled: dict[str, dict[str, dict[str, int]]] = {}
    for metric in ("probe_recovery", "prototype_recovery"):
        for reading in readings:
            if reading.metric == metric and reading.series is not None and reading.samples is not None:
                name = str(reading.replicate) if reading.model == "retrained" else _control(reading.model)
                counts = {layer: round(share * reading.samples) for layer, share in reading.series.items()}
                recalled.setdefault(metric, {})[name] = counts
    return {
        "predictions": {
            name: torch.bincount(s.outputs[part].predictions, minlength=classes).tolist() for name, s in named.items()
        },
        "distances": {
            name: [
                round(float(activation_distance(p, probability[str(other.replicate)]).mean()), 9) for other in retrained
            ]
            for name, p in probability.items()
        },
        "recalled": recalled,
    }


def _name(subject: Subject) -> str:
    return str(subject.replicate) if subject.name == "retrained" else _control(subject.name)


def _control(called: str) -> str:
    return next(name for name, model in CONTROLS.items() if model == called)


def written(content: dict[str, Any]) -> str:
    """Return the text of a bank's file: JSON with every list on one line."""
    text = json.dumps(content, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar10, cifar100 and faces_lfw158")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    runtime = Runtime()
    for name in arguments.only:
        setting = SETTINGS[name]
        models = opened(setting, data=arguments.data, work=arguments.work, runtime=runtime)
        told = {
            "name": name,
            "data": "digits" if setting.data == "digits" else "parquet",
            "model": setting.model,
            "settings": list(setting.recipe),
        }
        forget = [models.data.classes[k] for k in setting.forget]
        try:
            result = told | measured(models, forget, runtime=runtime, progress=progress_for_stderr())
        except ConfigError as error:
            parser.error(str(error))
        (BANKS / f"{name}.json").write_text(written(result))
        print(f"{name}: {result['cpu_seconds']} CPU seconds")
        for key, reading in result["readings"].items():
            controls = "  ".join(f"{control} {value:.4f}" for control, value in reading["controls"].items())
            print(f"{key:34} {statistics.mean(reading['values']):8.4f}  s0 {reading['s0']:.4f}  {controls}", flush=True)


if __name__ == "__main__":
    main()
