"""Trains the models of a bank's setting, or reads them from `references/`; the original comes last.

    python benchmarks/train_references.py --work DIR --data DIR [--only NAME ...]

Run folders in --work are reused, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from bank_settings import SETTINGS, Setting
from unlearnkit import Runtime
from unlearnkit.data import ImageData
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.run_dir import MANIFEST, WEIGHTS
from unlearnkit.steps.opening import InputOptions, load_images, open_model
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

REFERENCES = Path(__file__).parent / "references"
ORIGINAL = "original"
ORIGINAL_SEED = 2000
RETRAINED_SEED = 1000  # of the first retrained model


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The data of a setting, its original and its retrained models."""

    data: ImageData
    original: nn.Module
    retrained: list[nn.Module]


def opened(setting: Setting, *, data: Path, work: Path, runtime: Runtime) -> Opened:
    """Return the models of a setting, trained now where they are not there yet.

    Args:
        setting: which.
        data: folder of the benchmarks' data sets.
        work: folder of the run folders.
        runtime: device and precision.
    """
    if setting.references is not None:
        images = load_images(setting.source(data), None)
        *retrained, original = stored(setting)
        return Opened(data=images, original=original, retrained=retrained)
    checkpoints = [read_checkpoint(f / WEIGHTS) for f in trained(setting, data=data, work=work, runtime=runtime)]
    return from_checkpoints(setting.source(data), setting.model, checkpoints)


def from_checkpoints(source: str, model: str, checkpoints: list[Checkpoint]) -> Opened:
    """Open retrained models and, last, the original."""
    data = load_images(source, checkpoints[-1])
    data.fix_shape(0)
    *retrained, original = (open_model(model, checkpoint, data) for checkpoint in checkpoints)
    return Opened(data=data, original=original, retrained=retrained)


def stored(setting: Setting) -> list[nn.Module]:
    """Read the models of a setting from its references file, the original last."""
    assert setting.references is not None
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(REFERENCES / setting.references).items():
        name, _, inner = key.partition("/")
        states.setdefault(name, {})[inner] = tensor.float() if tensor.is_floating_point() else tensor
    models = []
    for name in (*(f"retrained-{i}" for i in range(setting.models)), ORIGINAL):
        model = build_model(setting.model, num_classes=10, in_channels=3)
        model.load_state_dict(states[name])
        models.append(model.eval())
    return models


def trained(setting: Setting, *, data: Path, work: Path, runtime: Runtime) -> list[Path]:
    """Train the models of a setting that are not there yet, and return the run folders, the original's last."""
    source, own = setting.source(data), work / setting.name
    original = work / (setting.original or setting.name) / ORIGINAL
    folders = [*(own / f"retrained-{i}" for i in range(setting.models)), original]
    for i, folder in enumerate(folders):
        if (folder / MANIFEST).is_file():
            continue
        began, retrained = time.process_time(), i < setting.models
        spec = TrainSpec(
            model=setting.model,
            data=source,
            exclude=tuple(str(k) for k in setting.forget) if retrained else (),
            settings=setting.recipe,
            inputs=InputOptions.by_hand(size=setting.image_size),
        )
        seed = RETRAINED_SEED + i if retrained else ORIGINAL_SEED
        summary = train_run(spec, Output(folder), seed=seed, runtime=runtime)
        print(f"{folder}: {summary['validation_accuracy']}, {time.process_time() - began:.0f} CPU seconds", flush=True)
    return folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar10, cifar100 and faces_lfw158")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    for name in arguments.only:
        if SETTINGS[name].references is None:
            trained(SETTINGS[name], data=arguments.data, work=arguments.work, runtime=Runtime())


if __name__ == "__main__":
    main()
