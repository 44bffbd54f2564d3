"""Runs every cell of the full-size suites on a few images and narrow networks, to find what fails before a GPU is paid.

    python benchmarks/rehearse.py --data DIR --work WORK --jobs 2
    python benchmarks/rehearse.py --data DIR --work WORK --suites cifar10 vit --ends

Requests and methods are those of the suites, with their settings but for numbers of retained images; one pass, a few
images of each class, one seed of each kind and the quick audit stand for theirs. Nothing that it measures means
anything: it says which cells fail, and ends with 1 if any do. That the networks of full width can be trained is what
`unlearnkit compare SUITE --plan` finds out; mixed precision is tried where `--device` has it.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unlearnkit.compare.cells import SuiteCell
from unlearnkit.compare.comparison import Comparison
from unlearnkit.compare.hand_out import Workers
from unlearnkit.compare.suite import Suite, read_suite, shipped, suite_from
from unlearnkit.compare.work import Place, kept
from unlearnkit.errors import UnlearnkitError

IMAGES = {"train": 240, "test": 80}  # that are kept of all classes together,
FEWEST = {"train": 6, "test": 3}  # and of each
NARROW = {
    "resnet18-cifar": "resnet18-cifar,width=8",
    "allcnn": "allcnn,width=16",
    "timm:mobilenetv2_100,output_stride=8": "timm:mobilenetv2_035,output_stride=8",
    "timm:vit_tiny_patch16_224,img_size=32,patch_size=4": (
        "timm:vit_tiny_patch16_224,img_size=32,patch_size=4,embed_dim=48,depth=2,num_heads=3"
    ),
}
SHORT = {"epochs": "1", "batch_size": "64"}
RETAINED = 4  # images of each class that a method reads, where its settings say more


def full_size() -> list[str]:
    """Return the names of the suites that want a GPU."""
    return [name for name in shipped() if f"{name}-small" in shipped()]


def rehearsal(suite: Suite, *, ends: bool = False) -> Suite:
    """Return a suite with the same requests and methods on narrow networks, one pass, one seed and the quick audit.

    Args:
        suite: which.
        ends: take the first and the last request of each setting alone.
    """
    content = suite.model_dump(mode="json", exclude_unset=True)
    for setting in content["settings"]:
        if ends:
            setting["requests"] = setting["requests"][:: max(1, len(setting["requests"]) - 1)]
        setting["model"] = NARROW.get(setting["model"], setting["model"])
        others = [each for each in setting.get("recipe", []) if each.partition("=")[0] not in SHORT]
        setting["recipe"] = [*others, *(f"{name}={value}" for name, value in SHORT.items())]
    for method, written in zip(suite.methods, content["methods"], strict=True):
        if (getattr(method.choice().make(), "retain_per_class", None) or 0) > RETAINED:
            written["set"] = [*written.get("set", []), f"retain_per_class={RETAINED}"]
    return suite_from({**content, "training_seeds": [0], "unlearning_seeds": [0], "retrained": 3, "audit": "quick"})


def copy_few(source: Path, into: Path) -> None:
    """Write the first few images of each class of a data set in Parquet files, with the files beside them.

    Raises:
        SystemExit: there is no such data set.
    """
    if missing := [side for side in IMAGES if not (source / f"{side}.parquet").is_file()]:
        raise SystemExit(f"Expected {missing[0]}.parquet in {source}, but there is none; name the folder with --data.")
    into.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.json"):
        shutil.copyfile(path, into / path.name)
    for side, most in IMAGES.items():
        table = pq.read_table(source / f"{side}.parquet")
        labels: list[int] = table["label"].to_pylist()
        rows = _first(labels, max(FEWEST[side], most // len(set(labels))))
        pq.write_table(table.take(pa.array(rows)), into / f"{side}.parquet")


def _first(labels: Sequence[int], most: int) -> list[int]:
    """Return the numbers of the first rows of each label."""
    seen: dict[int, int] = {}
    rows = []
    for row, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= most:
            rows.append(row)
    return rows


def rehearse(names: Iterable[str], place: Place, jobs: int, *, ends: bool) -> dict[str, dict[str, str]]:
    """Run suites, and return the cells of each that failed, with the sentence that says why."""
    failed: dict[str, dict[str, str]] = {}
    for name in names:
        suite = rehearsal(read_suite(name)[1], ends=ends)
        running = Comparison(name, suite, place, Workers(jobs=jobs), say=lambda line: print(line, flush=True))
        running.run()
        failed[name] = {f"{cell.method.shown} ({cell.name})": _why(place, cell) for cell in running.open()}
        print(f"{name}: {len(running.finished())} of {len(running.cells)} cells end", flush=True)
    return failed


def _why(place: Place, cell: SuiteCell) -> str:
    content = kept(place, cell)
    return str(content["failure"]) if content else "nothing was kept of it"


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse, print what failed, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("UNLEARNKIT_DATA"), help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="new folder for images and cells")
    parser.add_argument("--suites", nargs="+", default=full_size(), choices=shipped(), help="which; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="how many cells at once")
    parser.add_argument("--device", default="cpu", help="what to run on; default: cpu")
    parser.add_argument("--ends", action="store_true", help="the first and the last request of each setting alone")
    given = parser.parse_args(arguments)
    if given.data is None:
        parser.error("name the folder of the data sets with --data, or set UNLEARNKIT_DATA")
    if given.work.exists() and any(given.work.iterdir()):
        parser.error(f"{given.work} is not empty, and what an earlier version ran there would count; name a new folder")
    for name in sorted(_sets(read_suite(suite)[1] for suite in given.suites)):
        copy_few(Path(given.data) / name, given.work / "data" / name)
    place = Place(out=given.work / "out", bank=given.work / "bank", data=given.work / "data", device=given.device)
    try:
        failed = rehearse(given.suites, place, given.jobs, ends=given.ends)
    except UnlearnkitError as error:
        parser.error(str(error))
    for suite, cells in failed.items():
        for cell, why in cells.items():
            print(f"failed: {suite}, {cell}: {why}")
    return int(any(failed.values()))


def _sets(suites: Iterable[Suite]) -> set[str]:
    """Return the names of the data sets in the folder of `--data` that suites ask for."""
    sources: list[str] = [setting.data for suite in suites for setting in suite.settings]
    return {source.removeprefix("parquet:{data}/") for source in sources if source.startswith("parquet:{data}/")}


if __name__ == "__main__":
    raise SystemExit(main())
