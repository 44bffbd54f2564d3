"""Defines the command `unlearnkit compare`: its options, and the comparison that they call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import command_line
from unlearnkit.runtime.terminal import print_line, print_lines

DATA_VARIABLE = "UNLEARNKIT_DATA"


def command(
    suite: Annotated[
        str | None, typer.Argument(help="TOML file, or the name of a suite that is shipped (--list names them)")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder of the comparison; the next run goes on where one stopped"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="folder that {data} in a suite stands for; default: UNLEARNKIT_DATA")
    ] = None,
    bank: opt.Bank = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="how many at once; default: 1, of a cluster all it has")
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", help="backend of joblib: loky (processes of this machine), dask, ray, ...")
    ] = "loky",
    address: Annotated[
        str | None, typer.Option("--address", help="of the cluster's scheduler, as tcp://host:8786")
    ] = None,
    row: Annotated[
        str | None, typer.Option("--row", help="run the setting of one reported row alone, in place of a suite")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="print what would be done and its cost; nothing is run")] = False,
    judge_again: Annotated[
        bool,
        typer.Option("--judge-again", help="audit finished cells again, as after an update; no method is run for them"),
    ] = False,
    redraw: Annotated[
        Path | None,
        typer.Option(
            "--redraw", help="write tables and pages again from this results.json, or all in a folder; nothing is run"
        ),
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="name the shipped suites and the reported rows")] = False,
    device: opt.Device = None,
    quiet: opt.Quiet = False,
) -> None:
    """Run a suite of methods, models and seeds, judge all by the same audit, and write tables and a page."""
    from unlearnkit.cli.show_compare import show_table
    from unlearnkit.compare.comparison import Comparison
    from unlearnkit.compare.hand_out import CLUSTERS, Workers
    from unlearnkit.compare.plan import plan as planned
    from unlearnkit.compare.reported import named_row, only, reported_rows
    from unlearnkit.compare.results import PAGE, redraw_all
    from unlearnkit.compare.suite import read_suite, shipped
    from unlearnkit.compare.summary import HEADS, LEGEND, summaries
    from unlearnkit.compare.wording import counted
    from unlearnkit.compare.work import Place
    from unlearnkit.errors import ConfigError
    from unlearnkit.runtime.runtime import device_named
    from unlearnkit.steps.reference_bank import default_bank

    if names:
        print_lines("\n".join([*shipped(), *(f"--row {name}" for name in reported_rows())]))
        return
    if redraw is not None:
        redraw_all(redraw)
        return
    if (suite is None) == (row is None):
        raise ConfigError("Expected a suite or --row ID, one of the two; `unlearnkit compare --list` names them.")
    if out is None:
        raise ConfigError("Expected a folder for the comparison, but got none; give --out DIR.")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"Expected a folder for the comparison, but {out} is none; give --out DIR.")
    if device is not None:
        device_named(device, here=backend not in CLUSTERS)  # those of a cluster are its workers'
    if row is not None:
        reported = named_row(row)
        name, chosen = row, only(read_suite(reported.suite)[1], reported)
    else:
        name, chosen = read_suite(str(suite))
    named = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    place = Place(
        out=out.absolute(),
        bank=(bank or default_bank()).absolute(),
        data=named.absolute() if named else None,
        device=device,
        command=tuple(command_line()),
    )
    workers = Workers(jobs=jobs if jobs is not None or backend in CLUSTERS else 1, backend=backend, address=address)
    say = (lambda _: None) if quiet else print_line
    comparison = Comparison(name=name, suite=chosen, place=place, workers=workers, say=say)
    todo = comparison.open()
    again = comparison.finished() if judge_again else []
    if todo or again:
        workers.check()
    if not quiet or plan:
        found = planned(comparison.cells, todo, place, jobs or 1, again=again)
        print_lines("\n".join(found.lines))
        if plan and found.hopeless:
            raise typer.Exit(1)  # as the run ends where cells fail
    if plan:
        return
    results = comparison.run(judge_again=judge_again)
    unfinished = {cell.name for cell in comparison.open()}
    failed = len(unfinished | {cell.name for cell in comparison.cells if cell.name in comparison.failures})
    if not quiet:
        for summary in (shown := summaries(results)):
            show_table(summary.heading, HEADS, summary.rows)
        if shown:
            print_line(LEGEND)
        advice = "give the same command again to try once more"
        print_line(f"{counted(failed, 'cell')} failed; {advice}" if failed else "done")
        print_line(str(comparison.folder / PAGE))
    if failed:
        raise typer.Exit(1)
