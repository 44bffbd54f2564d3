"""Reads from a run folder how its original was trained, so that the training can be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnkit.disk.files import inside
from unlearnkit.errors import ModelError, OutputError
from unlearnkit.models.checkpoint import Checkpoint, file_sha256, read_checkpoint
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json
from unlearnkit.steps.opening import InputOptions
from unlearnkit.steps.specs import ways_of
from unlearnkit.training.private import Privacy, PrivateTraining
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.sharding import ShardedTraining, Sharding


@dataclass(frozen=True, kw_only=True)
class RecordedTraining:
    """A training by `unlearnkit train`, as its run folder records it.

    Args:
        folder: the run folder.
        trained: the weights that it gave.
        data: the data source.
        inputs: how images were read.
        recipe: all settings.
        seed: of every random draw.
        pretrained: whether it began with the architecture's published weights.
        init: the weights that it began with, and the key that they lie under; None: none of a file.
        init_sha256: their hash.
        trust_inputs: whether it went on although those weights and the data did not seem to belong together.
        sharding: the shards and slices that it was made in; None: it was made as a whole.
        privacy: what its differential privacy was to be; None: it had none.
    """

    folder: Path
    trained: Checkpoint
    data: str
    inputs: InputOptions
    recipe: Recipe
    seed: int
    pretrained: bool
    init: Path | None
    init_key: str | None
    init_sha256: str | None
    trust_inputs: bool
    sharding: Sharding | None = None
    privacy: Privacy | None = None

    @property
    def start(self) -> str | None:
        """What it began with, as an `Identity` says it."""
        return "pretrained" if self.pretrained else self.init_sha256

    @property
    def ways(self) -> dict[str, Any]:
        """Shards and privacy as an `Identity` holds them; empty for a training as a whole."""
        return ways_of(self.sharding, self.privacy)

    def settings(self) -> list[str]:
        """Return the recipe as `NAME=VALUE` for every setting."""
        return [f"{name}={'none' if v is None else v}" for name, v in self.recipe.model_dump().items()]


def recorded_training(run: Path) -> RecordedTraining:
    """Read how a model was trained; of a run folder of `forget`, how the original behind it was.

    Args:
        run: a run folder of `train` or `forget`, or the weights in it.

    Raises:
        ModelError: nothing records how it was trained, as with weights of another tool.
        OutputError: the run folder is damaged, or its weights have changed.
    """
    if not run.exists() or (run.is_file() and run.name != WEIGHTS):
        raise _unknown(run, "records no training" if run.exists() else "is not there")
    folder = run.parent if run.is_file() else run
    seen: set[Path] = set()
    while True:
        if not (folder / MANIFEST).is_file():
            raise _unknown(run, "records no training" if not seen else f"was made from {folder}, which is none")
        config = read_json(folder, "config.json", "kind")
        if config["kind"] == "train":
            return _read(folder)
        if config["kind"] != "forget":
            raise _unknown(run, f"was made by `unlearnkit {config['kind']}`")
        seen.add(folder)
        recorded = read_json(folder, "config.json", "weights")["weights"]
        weights = Path(str(recorded))
        if weights.name != WEIGHTS or weights.parent in seen or not weights.is_file():
            raise _unknown(run, f"was made from {weights}, which records no training")
        if read_json(folder, MANIFEST, "inputs")["inputs"].get(recorded) != file_sha256(weights):
            raise _changed(weights)
        folder = weights.parent


def _read(folder: Path) -> RecordedTraining:
    keys = ("data", "recipe", "seed", "pretrained", "init", "image_size", "shape", "mean", "std")
    config = read_json(folder, "config.json", *keys)
    manifest = read_json(folder, MANIFEST, "artefacts", "inputs")
    trained = read_checkpoint(inside(folder, WEIGHTS))
    if trained.card is None or manifest["artefacts"].get(WEIGHTS) != trained.sha256:
        raise _changed(trained.path)
    for key, kind in (("data", str), ("seed", int), ("recipe", dict), ("shape", list)):
        if not isinstance(config[key], kind):
            raise OutputError(
                f"Expected {key!r} in {folder / 'config.json'} to say how the model was trained, but got "
                f"{config[key]!r}; train the original again."
            )
    init, digest = _init(folder, config, manifest["inputs"] or {})
    return RecordedTraining(
        folder=folder,
        trained=trained,
        data=config["data"],
        inputs=InputOptions.recorded(config, trained.card.classes),
        recipe=Recipe(**config["recipe"]),
        seed=config["seed"],
        pretrained=config["pretrained"] is True,
        init=init,
        init_key=config.get("weights_key"),
        init_sha256=digest,
        trust_inputs=config.get("trust_inputs") is True,
        sharding=_sharding(trained),
        privacy=_privacy(trained),
    )


def _sharding(trained: Checkpoint) -> Sharding | None:
    record = trained.card.sharded if trained.card else None
    if record is None:
        return None
    plan = ShardedTraining(**record)
    return Sharding(shards=plan.shards, slices=plan.slices)


def _privacy(trained: Checkpoint) -> Privacy | None:
    record = trained.card.private if trained.card else None
    if record is None:
        return None
    made = PrivateTraining(**record)
    return Privacy(epsilon=made.wanted_epsilon, delta=made.delta, max_grad_norm=made.max_grad_norm)


def _init(folder: Path, config: dict[str, Any], inputs: dict[str, str]) -> tuple[Path | None, str | None]:
    if config["init"] is None:
        return None, None
    if len(inputs) != 1:
        raise OutputError(
            f"Expected one file in the inputs of {folder / MANIFEST}, the weights that training began with, but got "
            f"{len(inputs)}; train the original again."
        )
    ((path, digest),) = inputs.items()
    return Path(path), digest


def _changed(weights: Path) -> OutputError:
    return OutputError(
        f"Expected the weights that a run folder records in {weights}, but they have changed since; make them again."
    )


def _unknown(run: Path, why: str) -> ModelError:
    return ModelError(
        f"Expected the run folder of a model that `unlearnkit train` made, whose recipe is repeated, but {run} "
        f"{why}; "
        "train the reference models as the original was, by `unlearnkit train --exclude CLASS --set NAME=VALUE` or "
        "code of your own, and give their weights to the audit with --retrained."
    )
