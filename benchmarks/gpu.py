"""Everything about the toolkit that only a GPU shows: networks trained in full, all methods audited, seconds beside.

    PYTHONPATH=src python benchmarks/gpu.py --data ROOT --work DIR --out DIR [--budget SECONDS] [--only STEP ...]
    PYTHONPATH=src python benchmarks/gpu.py --plan [--budget SECONDS]
    PYTHONPATH=src python benchmarks/gpu.py --pack DIR --data ROOT [--sets cifar10]
    PYTHONPATH=src python benchmarks/gpu.py --smoke --work DIR --out DIR

`--data` is a folder with the folders cifar10 and cifar100, each with train.parquet and test.parquet; a step whose data
are not there is left out. Class 0 is forgotten. The steps go in order of worth, in units of one training, or one method
with its audit. A unit that is done is not done again, so the same command goes on where it stopped; a unit that failed
is tried again. `--work` keeps models, unlearned weights and a JSON file for each step. `--out` receives these files,
rewritten after every unit; methods.md and methods.svg, as `compare_methods.py` draws them; and the weights of the small
networks (float32) and of the fast one (float16), each file below 16 MiB.

With `--budget`, what fits is planned from the seconds that similar units took here or on an H200, and printed before
work begins; a unit is left out where less time remains than it is expected to take, and the last line says what was.
`--plan` prints the plan alone. `--smoke` goes through all steps in two minutes without a GPU: digits, tiny networks.

It ends with 1 where units failed, or where nothing was done.

The package is imported from `src`; it needs torch, torchvision, timm and the project's own dependencies. A machine
without a network needs as wheels those of pyproject.toml that it lacks: the one where results/gpu.json was measured
lacked pydantic alone, with pydantic-core, annotated-types, typing-extensions and typing-inspection (3 MB). `--pack`
copies the images that one run carries, 60 MB at most, so one data set at a time; of this repository a run needs `src`
and the programs in `benchmarks`, but no references, results, tests or docs (40 MB).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import psutil

import unlearnkit.audit.observe.relearning as relearning_module
from gpu_book import Book, Step
from gpu_course import Course
from gpu_images import decoded_once, digits
from gpu_pack import SETS, pack
from gpu_plan import FULL, SMOKE, STEPS
from unlearnkit.data.sources.registry import SOURCES
from unlearnkit.data.sources.source import Source


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--budget", type=float, help="seconds for all, from the start of the program")
    parser.add_argument("--only", nargs="+", choices=STEPS)
    parser.add_argument("--plan", action="store_true", help="say what would be done; nothing is run or written")
    parser.add_argument("--pack", type=Path, help="folder for the images that a run carries; nothing is run")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["cifar10"], help="what --pack copies")
    parser.add_argument("--smoke", action="store_true", help="tiny networks on digits, without --data")
    asked = parser.parse_args(argv)
    if asked.plan:
        wanted = []
    elif asked.pack:
        wanted = ["data"]
    else:
        wanted = ["work", "out"] if asked.smoke else ["data", "work", "out"]
    if missing := [f"--{key}" for key in wanted if getattr(asked, key) is None]:
        parser.error(f"Expected {', '.join(missing)}, but got nothing for it; see --help.")
    if asked.pack:
        print(f"{pack(asked.data, asked.pack, asked.sets) / 1e6:.1f} MB in {asked.pack}")
        return
    if asked.smoke:
        sources = dict.fromkeys(SETS, "parquet:digits")
    elif asked.data is None:  # a plan of what would be run were all there
        sources = {name: f"parquet:{name}" for name in SETS}
    else:
        sources = {name: f"parquet:{asked.data / name}" for name in SETS if (asked.data / name).is_dir()}
    plan = SMOKE if asked.smoke else FULL
    began = time.perf_counter() - (time.time() - psutil.Process().create_time())  # imports count
    networks = json.loads(json.dumps({name: asdict(network) for name, network in plan.networks.items()}))
    told = {"smoke": asked.smoke, "expected": plan.seconds, "asked": networks, "began": began}
    book = Book(asked.work, asked.out, asked.budget, **told)
    every = Course(book, plan, sources).steps()
    steps = [step for step in every if asked.only is None or step.name in asked.only]
    show(book, steps)
    if asked.plan:
        return
    for folder in (asked.work, asked.out):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        load = digits if asked.smoke else SOURCES["parquet"].load
        stack.enter_context(patch.dict(SOURCES, {"parquet": Source(load=decoded_once(load), needs="DIR")}))
        if asked.smoke:  # relearning is tried for three steps
            stack.enter_context(patch.object(relearning_module, "measuring_steps", lambda cap: [1, min(3, cap)]))
        for step in steps:
            book.do(step)
    seconds = time.perf_counter() - book.began
    print(
        f"[{seconds:7.1f} s] left out: {', '.join(book.left_out) or 'nothing'}; "
        f"failed: {', '.join(book.failed()) or 'nothing'}; "
        f"below what is expected of them: {', '.join(book.short_of_goal()) or 'nothing'}",
        flush=True,
    )
    if book.failed() or (book.left_out and not any(map(book.done, STEPS))):
        raise SystemExit(1)


def show(book: Book, steps: Sequence[Step]) -> None:
    """Print how many units of each step are to be done, and how long they are expected to take."""
    chosen, out = book.plan(steps)
    total = 0.0
    for step in steps:
        mine = [seconds for name, _, seconds in chosen if name == step.name]
        total += sum(mine)
        lacking = sum(name.startswith(f"{step.name}/") for name in out)
        why = f" ({step.missing or 'no time, or what they need is left out'})" if lacking else ""
        print(f"planned: {step.name}: {len(mine)} units, {sum(mine):.0f} s; {lacking} left out{why}")
    budget = "" if book.budget is None else f" of {book.budget:.0f} s"
    print(f"planned: {len(chosen)} units, {total:.0f} s{budget}", flush=True)


if __name__ == "__main__":
    main()
