"""Defines the command `unlearnkit compare`: its options, and the comparison that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.runtime.terminal import print_lines


def command(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; table and picture go beside it")],
    data: Annotated[str | None, typer.Option("--data", help=opt.DATA_HELP, show_default=False)] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", help="folder with the run folders original, retrained-0, retrained-1, ..."),
    ] = None,
    work: Annotated[Path | None, typer.Option("--work", help="folder where finished runs are kept")] = None,
    forget: opt.Forget = [],  # noqa: B006 - typer reads the default, nobody changes it
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="method to run, or unsir-no-noise; repeatable; default: all")
    ] = None,
    variants: Annotated[
        list[str] | None,
        typer.Option("--variant", help="default, tuned or paper settings; repeatable; default: the first two"),
    ] = None,
    settings: opt.Settings = None,
    seeds: Annotated[int, typer.Option("--seeds", help="number of seeds of each run")] = 3,
    trials: Annotated[int, typer.Option("--trials", help="trials of each method's tuning")] = 12,
    retrained: Annotated[int, typer.Option("--retrained", help="retrained models to judge by, three at least")] = 3,
    primary: Annotated[bool, typer.Option("--primary", help="audit by the readings that vote alone")] = False,
    label: Annotated[str | None, typer.Option("--label", help="what to call the data; default: kind of source")] = None,
    redraw: Annotated[bool, typer.Option("--redraw", help="draw table and picture from --out; nothing is run")] = False,
) -> None:
    """Run methods side by side on one request, judge all by the same audit, and write the table and the picture."""
    from unlearnkit.compare.grid import Grid, compare_methods
    from unlearnkit.compare.grid import redraw as drawn_again
    from unlearnkit.compare.page import table
    from unlearnkit.errors import ConfigError

    if redraw:
        print_lines(table(drawn_again(out)))
        return
    required = {"--data": data, "--models": models, "--work": work, "--forget": forget or None}
    missing = [name for name, value in required.items() if value is None]
    if data is None or models is None or work is None or missing:
        raise ConfigError(f"Expected {', '.join(missing)}, or --redraw to draw what --out holds; add what is missing.")
    grid = Grid(
        methods=tuple(methods or ()),
        variants=tuple(variants or ("default", "tuned")),
        seeds=seeds,
        trials=trials,
        settings=tuple(settings or ()),
        primary=primary,
        label=label,
    )
    result = compare_methods(grid, data=data, models=models, work=work, forget=forget, retrained=retrained, out=out)
    print_lines(table(result))
