"""Opens experiment trackers (TensorBoard, W&B, MLflow) through accelerate's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unlearnkit.errors import ConfigError
from unlearnkit.runtime.runlog import Track
from unlearnkit.runtime.runtime import Runtime

TRACKERS = ("tensorboard", "wandb", "mlflow")


@contextmanager
def tracking(name: str | None, folder: Path, settings: Mapping[str, Any], runtime: Runtime) -> Iterator[Track | None]:
    """Open a tracker and close it at the end; does nothing without a name, and in all processes but the main one.

    Args:
        name: one of `TRACKERS`.
        folder: where trackers that write files write them; MLflow does where MLFLOW_TRACKING_URI names nothing.
        settings: the run's configuration; nested values are recorded as text.
        runtime: device and processes.

    Raises:
        ConfigError: the name is unknown, or the tracker's package is not installed.
    """
    if name is None or not runtime.processes.is_main:
        yield None
        return
    if name not in TRACKERS:
        raise ConfigError(f"Expected a tracker ({', '.join(TRACKERS)}), but got {name!r}; choose one of them.")
    from accelerate import Accelerator
    from accelerate.tracking import get_available_trackers

    if name not in {tracker.value for tracker in get_available_trackers()}:
        raise ConfigError(
            f"Expected the tracker {name} to be installed, but it is not; pip install 'unlearnkit[{name}]'."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if name == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder.absolute()}/mlflow.db")  # its own default lies where we stand
    accelerator = Accelerator(cpu=runtime.device.type == "cpu", log_with=name, project_dir=folder)
    plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in settings.items()}
    accelerator.init_trackers("unlearnkit", config=plain, init_kwargs={"wandb": {"dir": str(folder)}})
    try:
        yield lambda values, step: accelerator.log(values, step=step)
    finally:
        accelerator.end_training()


def tracking_folder(out: Path) -> Path:
    """Return the folder for a tracker's files: beside the run folder, which exists only once it is complete."""
    return out.parent / "tracking" / out.name
