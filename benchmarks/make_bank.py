"""Makes a bank: retrained models of one setting, and the spread of their primary readings from seed to seed.

    python benchmarks/make_bank.py --name digits --data digits --model small-cnn --forget 3 --work DIR [--models 12]
    python benchmarks/make_bank.py --name cifar10-fast --data parquet:DIR --model airbench --forget 0 --work DIR \
        --models 9 --set epochs=3

Trains one original and the retrained models (kept in --work and reused), gathers the audit's evidence, and writes
src/unlearnkit/audit/banks/NAME.json. Distances to the retrained models are those to all the others. Relearning goes on
for longer than in an audit, and the spread is that of the times as an audit's cap cuts them off: which models are there
just before it would otherwise hang on its last measurement.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unlearnkit import ForgetRequest, Runtime
from unlearnkit.audit import METRICS, audit, gather
from unlearnkit.audit.metrics.registry import PRIMARY, PRIMARY_METRICS
from unlearnkit.audit.observe.relearning import CAP
from unlearnkit.audit.verdict import Scale
from unlearnkit.cli.progress import progress_for_stderr
from unlearnkit.errors import ConfigError
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import MANIFEST, WEIGHTS, versions
from unlearnkit.runtime.progress import Progress
from unlearnkit.split import Part, split_for
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.steps.train import train_run

RELEARN_CAP = 1024
BANKS = Path(__file__).parent.parent / "src" / "unlearnkit" / "audit" / "banks"


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
        ConfigError: a primary reading could not be taken of every retrained model.
    """
    runtime, count = runtime or Runtime(), len(folders) - 1
    checkpoints = [read_checkpoint(folder / WEIGHTS) for folder in folders]
    data = load_images(source, None, checkpoints[-1])
    split = split_for(ForgetRequest(classes=tuple(forget)), data)
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    models = [open_model(model, checkpoint, data) for checkpoint in checkpoints]
    metrics = {key: METRICS[key] for key in PRIMARY_METRICS}
    evidence = gather(
        {"original": models[-1], "retrained": models[:-1]},
        data,
        split,
        metrics=metrics.values(),
        seed=0,
        runtime=runtime,
        progress=progress,
        relearn_cap=RELEARN_CAP,
    )
    readings = audit(evidence, metrics).readings
    content: dict[str, dict[str, Any]] = {}
    for primary in PRIMARY:
        group = [
            r
            for r in readings
            if (r.metric, r.part, r.model) == (primary.metric, primary.part, "retrained") and r.value is not None
        ]
        scale = Scale(kind=primary.scale, samples=min((r.samples or 0 for r in group), default=0))
        values = [r.value for r in group if r.value is not None]
        if len(values) < count:
            reasons = {d for r in readings if (r.metric, r.part) == (primary.metric, primary.part) for d in r.doubts}
            raise ConfigError(f"{primary.key} was measured on {len(values)} of {count} models: {reasons}")
        content[primary.key] = {
            "values": values,
            "samples": scale.samples,
            "s0": statistics.stdev(scale.to(min(value, CAP) if primary.scale == "time" else value) for value in values),
        }
    return {
        "name": name,
        "data": source.partition(":")[0],
        "model": model,
        "classes": list(data.classes),
        "forget": list(split.request.forget_names),
        "models": count,
        "settings": list(settings),
        "relearn_cap": RELEARN_CAP,
        "readings": content,
        "hardware": {"device": str(runtime.device), "machine": platform.machine(), "threads": torch.get_num_threads()},
        "versions": versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--forget", required=True, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    arguments = parser.parse_args()
    if arguments.models < 9:
        parser.error("a bank needs nine models or more")
    runtime, progress = Runtime(), progress_for_stderr()
    folders = []
    for seed in range(arguments.models + 1):  # the last one is the original
        original = seed == arguments.models
        folder = arguments.work / ("original" if original else f"retrained-{seed}")
        folders.append(folder)
        if not (folder / MANIFEST).is_file():
            train_run(
                model=arguments.model,
                data=arguments.data,
                out=folder,
                exclude=() if original else arguments.forget,
                seed=1000 + seed,
                settings=arguments.settings,
                runtime=runtime,
                progress=progress,
            )
    try:
        result = bank(
            name=arguments.name,
            source=arguments.data,
            model=arguments.model,
            forget=arguments.forget,
            folders=folders,
            settings=arguments.settings,
            runtime=runtime,
            progress=progress,
        )
    except ConfigError as error:
        parser.error(str(error))
    BANKS.mkdir(exist_ok=True)
    (BANKS / f"{arguments.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    for key, reading in result["readings"].items():
        print(f"{key:32} {statistics.mean(reading['values']):8.4f}  s0 {reading['s0']:.4f}")


if __name__ == "__main__":
    main()
