"""Defines the command `unlearnkit retrain`: its options, and the step that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import command_line, print_result, progress_of, rows_of


def command(
    of: Annotated[Path, typer.Option("--of", help="run folder of the original, or of a model unlearned from it")],
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="class to leave out; repeatable")] = None,
    exclude_rows: opt.ExcludeRows = None,
    exclude_where: opt.ExcludeWhere = None,
    exclude_subclass: opt.ExcludeSubclass = None,
    count: Annotated[int, typer.Option("--count", help="how many models")] = 3,
    seed: Annotated[
        int | None, typer.Option("--seed", help="seed of the first model; default: the number after the original's")
    ] = None,
    bank: opt.Bank = None,
    model: opt.MaybeModel = None,
    data: Annotated[str | None, typer.Option("--data", help="data source, in place of the recorded one")] = None,
    storage: opt.Storage = "auto",
    workers: opt.Workers = None,
    device: opt.Device = None,
    precision: opt.Precision = "auto",
    micro_batch: opt.MicroBatch = None,
    compile: opt.Compile = False,
    count_operations: opt.CountOperations = False,
    resume: opt.Resume = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train the reference models of an audit: the original's training again, without some classes or rows."""
    from unlearnkit.cli.show_bank import show_references
    from unlearnkit.runtime.runtime import Runtime
    from unlearnkit.steps.reference_bank import default_bank
    from unlearnkit.steps.retrain import retrain_run
    from unlearnkit.steps.specs import RetrainSpec

    spec = RetrainSpec(
        of=of,
        exclude=exclude or [],
        exclude_rows=rows_of(exclude_rows, exclude_where, exclude_subclass).choice,
        count=count,
        seed=seed,
        data=data,
        model=model,
        storage=storage,
        workers=workers,
    )
    result = retrain_run(
        spec,
        bank or default_bank(),
        command=command_line(),
        runtime=Runtime.named(
            device, precision, micro_batch_size=micro_batch, compile=compile, count_operations=count_operations
        ),
        progress=progress_of(quiet),
        resume=resume,
    )
    if as_json:
        print_result(result, as_json, quiet)
    elif not quiet:
        show_references(result)
