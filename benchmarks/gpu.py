"""Everything about the toolkit that only a GPU shows: networks trained in full, and all methods audited on them.

    python benchmarks/gpu.py --data DIR --work DIR --out DIR [--data-100 DIR] [--budget SECONDS] [--only STEP ...]
    python benchmarks/gpu.py --list
    python benchmarks/gpu.py --smoke --work DIR --out DIR

`--data` is a folder with CIFAR-10's train.parquet and test.parquet, `--data-100` one with CIFAR-100's, without which
that step is left out; class 0 is forgotten. The steps go in order of worth, in units of one training, or one method
with its audit. A unit that is done is not done again, so the same command goes on where it stopped; a unit that failed
is tried again. `--work` keeps models, unlearned weights and gpu.json. `--out` receives gpu.json, rewritten after every
unit; methods.md and methods.svg, as `compare_methods.py` draws them; and the weights of the small networks (float32)
and of four fast ones (float16), each file below 16 MiB.

With `--budget`, a unit is left out where less time remains than similar ones have taken; what was left out is said in
the last line. `--smoke` goes through all steps in a minute without a GPU: digits for images, tiny networks.

It imports the package from `src` and what that depends on. A machine without a network needs what it lacks of them
as wheels; an image with PyTorch, timm and scikit-learn lacked pydantic with pydantic-core, annotated-types and
typing-inspection alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import unlearnkit.audit.observe.relearning as relearning_module
from gpu_book import Book
from gpu_course import Course
from gpu_images import decoded_once, digits
from gpu_plan import FULL, SMOKE, STEPS
from unlearnkit.data.sources.registry import SOURCES
from unlearnkit.data.sources.source import Source


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--data-100", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--budget", type=float)
    parser.add_argument("--only", nargs="+", choices=STEPS)
    parser.add_argument("--list", action="store_true", help="name the steps; nothing is run")
    parser.add_argument("--smoke", action="store_true", help="tiny networks on digits, without --data")
    arguments = parser.parse_args(argv)
    plan = SMOKE if arguments.smoke else FULL
    wanted = ["work", "out"] if arguments.smoke else ["data", "work", "out"]
    missing = [f"--{key}" for key in wanted if getattr(arguments, key) is None]
    if missing and not arguments.list:
        parser.error(f"Expected {', '.join(missing)}.")
    folders = {"cifar10": arguments.data, "cifar100": arguments.data_100}
    sources = {name: f"parquet:{folder}" for name, folder in folders.items() if folder is not None}
    if arguments.smoke:
        sources = dict.fromkeys(folders, "parquet:digits")
    if arguments.list:
        print(*STEPS, sep="\n")
        return
    for folder in (arguments.work, arguments.out):
        folder.mkdir(parents=True, exist_ok=True)
    book = Book(arguments.work, arguments.out, arguments.budget, smoke=arguments.smoke)
    steps = Course(book, plan, sources).steps()
    with ExitStack() as stack:
        load = digits if arguments.smoke else SOURCES["parquet"].load
        stack.enter_context(patch.dict(SOURCES, {"parquet": Source(load=decoded_once(load), needs="DIR")}))
        if arguments.smoke:  # relearning is tried for three steps
            stack.enter_context(patch.object(relearning_module, "measuring_steps", lambda cap: [1, min(3, cap)]))
        for name in arguments.only or steps:
            book.guarded(name, steps[name])
    book.save()
    seconds = time.perf_counter() - book.began
    print(
        f"[{seconds:7.1f} s] left out: {', '.join(book.left_out) or 'nothing'}; "
        f"failed: {', '.join(book.failed()) or 'nothing'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
