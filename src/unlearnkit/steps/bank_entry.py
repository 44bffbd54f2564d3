"""Takes one model from the reference bank, or trains it into the bank; several commands that want it train it once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unlearnkit.class_names import listed
from unlearnkit.disk.holding import held
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.runtime.progress import Progress
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.checkpoints import place_of
from unlearnkit.steps.identity import Identity
from unlearnkit.steps.output import Output
from unlearnkit.steps.reference_bank import REFERENCE, damage, discard
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run


def banked_model(
    training: TrainSpec,
    identity: Identity,
    bank: Path,
    *,
    command: Sequence[str],
    runtime: Runtime,
    progress: Progress,
    resume: bool,
) -> dict[str, Any]:
    """Return where a model is, and train it first where the bank does not hold it whole.

    While another process trains it, this one waits, and then takes what that has trained.

    Args:
        training: how it is trained.
        identity: what it is, which names its folder.
        bank: folder of the reference bank.
        command, runtime, progress, resume: see `retrain_run`.

    Returns:
        where it is, its seed and its accuracy, whether it was `trained` now, and what was wrong with an earlier one
        that it has `replaced`; None: there was none.
    """
    entry = bank / identity.key
    trained, replaced = False, None
    if not os.path.lexists(entry) or damage(entry) is not None:
        with _alone(entry, runtime, progress):
            replaced = damage(entry) if os.path.lexists(entry) else None  # another may have trained it meanwhile
            if replaced is not None:
                progress.say(f"note: {entry} is unfinished or damaged, and is trained again: {replaced}")
                discard(entry)
            trained = not entry.exists()
            if trained:
                _train(training, identity, entry, command, runtime, progress, resume=resume)
    if not trained:
        if place_of(entry).exists():
            place_of(entry).unlink(missing_ok=True)
        if runtime.count_operations and "operations" not in read_json(entry, "cost.json", "total")["total"]:
            progress.say(f"note: {entry} was trained while nobody counted operations, and its cost stays without them")
    accuracy = read_json(entry, "config.json", "validation_accuracy")["validation_accuracy"]
    return {
        "path": str(entry / WEIGHTS),
        "seed": identity.seed,
        "trained": trained,
        "replaced": replaced,
        "validation_accuracy": accuracy,
    }


def _train(
    training: TrainSpec,
    identity: Identity,
    entry: Path,
    command: Sequence[str],
    runtime: Runtime,
    progress: Progress,
    *,
    resume: bool,
) -> None:
    """Train a model into its folder, which this process holds."""
    unfinished = place_of(entry)
    if unfinished.exists() and not resume:
        progress.say(f"note: {unfinished} is trained anew; --resume would go on with it")
        unfinished.unlink(missing_ok=True)
    without = f" without {listed(identity.excluded)}" if identity.excluded else ""
    progress.say(f"seed {identity.seed}: training{without}")
    train_run(
        training,
        # overwrite: where there are no locks another process may train it meanwhile, and what that wrote is as good
        Output(entry, overwrite=True, command=command, held=True),
        seed=identity.seed,
        runtime=runtime,
        progress=progress,
        also={REFERENCE: identity.as_record()},
        resume=resume and unfinished.exists(),
    )


@contextlib.contextmanager
def _alone(entry: Path, runtime: Runtime, progress: Progress) -> Iterator[None]:
    """Hold the folder of a model, and wait for another process that does.

    Of several processes that train together, the main one holds it, and does not wait: the others would go on.

    Raises:
        OutputError: the bank cannot be written to, or this process holds the folder already.
    """
    if not runtime.processes.is_main:
        yield
        return

    def waiting(who: str) -> None:
        progress.say(f"note: {who} is working on {entry}; waiting until that has ended")

    folder = entry.absolute()
    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)  # all look for the lock in there
            stack.enter_context(held(folder, waiting=waiting if runtime.processes.count == 1 else None))
        except OSError as error:
            raise OutputError(
                f"Expected to be able to write into the reference bank {folder.parent}, but got: "
                f"{error.strerror or error}; choose a bank that you may write to."
            ) from error
        yield
