"""Where real image sets lie: in `shared/data` beside the project, or in $UNLEARNKIT_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("UNLEARNKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def folder(name: str) -> str:
    path = DATA / name
    if not (path / "train.parquet").is_file():
        pytest.skip(f"no real image data at {path}; set UNLEARNKIT_DATA to a folder that holds {name}")
    return f"parquet:{path}"
