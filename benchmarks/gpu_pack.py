"""Puts the images that one run of `gpu.py` carries into a folder, and says where that is too much to carry."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

LIMIT = 60 * 10**6  # bytes that are carried to the machine with the GPU, the wheels apart
FILES = ("train.parquet", "test.parquet")
SETS = ("cifar10", "cifar100")


def pack(root: Path, into: Path, names: Sequence[str]) -> int:
    """Copy the Parquet files of data sets into a folder of their own, and return how many bytes they are.

    They hold JPEG, which no packing makes smaller: CIFAR-10 has 52 MB and CIFAR-100 53 MB, so that each goes with a
    run of its own.

    Raises:
        SystemExit: a file is missing, or they are larger than `LIMIT` together; nothing is copied then.
    """
    files = {Path(name) / file: root / name / file for name in names for file in FILES}
    for path in files.values():
        if not path.is_file():
            raise SystemExit(f"Expected the images in {path}, but there is no such file; name the data with --data.")
    total = sum(path.stat().st_size for path in files.values())
    if total > LIMIT:
        raise SystemExit(
            f"Expected at most {LIMIT // 10**6} MB to carry, but {' and '.join(names)} are {total / 1e6:.0f} MB "
            "together; pack one of them at a time (--sets), and run again with the other."
        )
    for relative, path in files.items():
        (into / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / relative)
    return total
