"""Defines the command `unlearnkit audit`: its options, and the step that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import (
    audit_options,
    command_line,
    exit_strictly,
    inputs_of,
    print_result,
    progress_of,
    rows_of,
)
from unlearnkit.errors import ConfigError


def command(
    folder: Annotated[Path | None, typer.Argument(help="run folder made by `forget`")] = None,
    original: Annotated[Path | None, typer.Option("--original", help="weights before forgetting")] = None,
    unlearned: Annotated[Path | None, typer.Option("--unlearned", help="weights after forgetting")] = None,
    retrained: opt.Retrained = None,
    references: opt.References = None,
    shadows: opt.Shadows = None,
    model: opt.MaybeModel = None,
    weights_key: opt.WeightsKey = None,
    data: Annotated[str | None, typer.Option("--data", help=opt.DATA_HELP)] = None,
    forget: opt.Forget = [],  # noqa: B006 - typer reads the default, nobody changes it
    forget_rows: opt.ForgetRows = None,
    forget_where: opt.ForgetWhere = None,
    forget_subclass: opt.ForgetSubclass = None,
    no_duplicates: opt.NoDuplicates = False,
    already_forgotten: opt.Already = None,
    out: Annotated[Path | None, typer.Option("--out", help="folder to write, for two weights files")] = None,
    strict: opt.Strict = False,
    quick: opt.Quick = False,
    full: opt.Full = False,
    audit_data: opt.AuditData = None,
    include_images: opt.IncludeImages = False,
    head: opt.Head = None,
    seed: opt.Seed = 0,
    image_size: opt.ImageSize = None,
    crop_pct: opt.CropPct = None,
    interpolation: opt.Interpolation = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    channels: opt.Channels = None,
    classes: opt.Classes = None,
    image_column: opt.ImageColumn = None,
    label_column: opt.LabelColumn = None,
    trust_inputs: opt.TrustInputs = False,
    storage: opt.Storage = "auto",
    workers: opt.Workers = None,
    device: opt.Device = None,
    precision: opt.Precision = "auto",
    language: opt.Language = None,
    ledger: opt.Ledger = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Audit a run folder, or any two weights files (--original, --unlearned, --data, --forget, --out).

    With a folder, --model, --data and --original stand in place of what it records.
    """
    from unlearnkit.run_dir import read_json
    from unlearnkit.runtime.runtime import Runtime
    from unlearnkit.steps.audit import audit_folder, audit_pair
    from unlearnkit.steps.output import Output
    from unlearnkit.steps.specs import CaseSpec

    runtime, progress = Runtime.named(device, precision), progress_of(quiet)
    options = audit_options(retrained, shadows, head, audit_data, quick=quick, full=full, references=references)
    if folder is not None:
        pair_options = {
            "--unlearned": unlearned,
            "--forget": forget,
            "--forget-rows": forget_rows,
            "--forget-where": forget_where,
            "--forget-subclass": forget_subclass,
            "--no-duplicates": no_duplicates,
            "--out": out,
            "--already-forgotten": already_forgotten,
            "--image-size": image_size,
            "--crop-pct": crop_pct,
            "--interpolation": interpolation,
            "--mean": mean,
            "--std": std,
            "--channels": channels,
            "--classes": classes,
            "--image-column": image_column,
            "--label-column": label_column,
            "--weights-key": weights_key,
        }
        given_options = [name for name, value in pair_options.items() if value]
        if given_options:
            raise ConfigError(
                f"Expected a run folder alone, but got {given_options[0]} too; that option is for two weights files."
            )
        result = audit_folder(
            Output(folder, include_images=include_images, language=language, command=command_line(), ledger=ledger),
            options=options,
            model=model,
            data=data,
            original=original,
            trust_inputs=trust_inputs,
            seed=seed,
            runtime=runtime,
            progress=progress,
        )
    elif original is None or unlearned is None or data is None or out is None:
        pair = {"--original": original, "--unlearned": unlearned, "--data": data, "--out": out}
        missing = " and no ".join(name for name, value in pair.items() if value is None)
        raise ConfigError(
            "Expected a run folder, or --original, --unlearned, --data, --forget and --out together, but got no "
            f"{missing}; add what is missing."
        )
    else:
        spec = CaseSpec(
            weights=original,
            data=data,
            forget=forget,
            already_forgotten=already_forgotten or [],
            model=model,
            inputs=inputs_of(
                image_size,
                crop_pct,
                interpolation,
                mean,
                std,
                channels,
                classes,
                storage,
                workers,
                image_column,
                label_column,
            ),
            weights_key=weights_key,
            trust_inputs=trust_inputs,
            rows=rows_of(forget_rows, forget_where, forget_subclass, duplicates=not no_duplicates),
        )
        result = audit_pair(
            spec,
            unlearned,
            Output(out, overwrite, include_images, language, command_line(), ledger),
            options=options,
            seed=seed,
            runtime=runtime,
            progress=progress,
        )
    made_by = read_json(folder, "config.json", "kind") if folder is not None else {}
    known: dict[str, object] = {key: made_by[key] for key in ("method", "stronger") if key in made_by}
    print_result({"audit": result, "out": str(folder or out), **known}, as_json, quiet)
    if strict:
        exit_strictly(result)
