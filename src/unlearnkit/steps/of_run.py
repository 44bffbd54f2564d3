"""Reads from a run folder where its weights and its data are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearnkit.disk.files import inside
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.steps.opening import recorded_data


@dataclass(frozen=True, kw_only=True)
class RunSource:
    """What a run folder was made with and holds.

    Args:
        weights: its model.
        data: the data source.
        image_column, label_column: names of the columns of a table; None: none were given.
    """

    weights: Path
    data: str
    image_column: str | None
    label_column: str | None


def source_of_run(folder: Path, data: str | None) -> RunSource:
    """Read what a run folder of `train` or `forget` records.

    Args:
        folder: the run folder.
        data: the data source in place of the recorded one, which is opened only where it is local.

    Raises:
        OutputError: it is no such folder.
        DataError: the recorded data is fetched, or read by code of others.
    """
    config = read_json(folder, "config.json", "kind", "data")
    if config["kind"] not in ("train", "forget") or not isinstance(config["data"], str):
        raise OutputError(
            f"Expected a run folder of `train` or `forget` for --of, but {folder} was made by `{config['kind']}`; give "
            "--weights and --data."
        )
    return RunSource(
        weights=inside(folder, WEIGHTS),
        data=data or recorded_data(config["data"], folder / "config.json"),
        image_column=config.get("image_column"),
        label_column=config.get("label_column"),
    )
