"""Defines the command `unlearnkit forget`: its options, and the step that they call."""

from __future__ import annotations

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

STRICT = (
    "write nothing and exit with 1 where more retained accuracy is lost than --tolerance; exit with 4 where the model "
    "did not forget, and with 3 where the audit does not pass it otherwise"
)


def command(
    out: opt.Out,
    data: opt.MaybeData = None,
    of: opt.Of = None,
    forget: opt.Forget = [],  # noqa: B006 - typer reads the default, nobody changes it
    forget_rows: opt.ForgetRows = None,
    forget_where: opt.ForgetWhere = None,
    forget_subclass: opt.ForgetSubclass = None,
    no_duplicates: opt.NoDuplicates = False,
    weights: opt.MaybeWeights = None,
    model: opt.MaybeModel = None,
    weights_key: opt.WeightsKey = None,
    method: opt.MethodName = None,
    preset: opt.Preset = "default",
    settings: opt.Settings = None,
    already_forgotten: opt.Already = None,
    retrained: opt.Retrained = None,
    references: opt.References = None,
    shadows: opt.Shadows = None,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="stop after forgetting")] = False,
    strict: Annotated[bool, typer.Option("--strict", help=STRICT)] = False,
    tolerance: opt.Tolerance = 0.02,
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
    micro_batch: opt.MicroBatch = None,
    compile: opt.Compile = False,
    count_operations: opt.CountOperations = False,
    track: opt.Tracker = None,
    language: opt.Language = None,
    ledger: opt.Ledger = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Make a model forget classes, then audit and report."""
    from unlearnkit.methods.choice import MethodChoice
    from unlearnkit.runtime.runtime import Runtime
    from unlearnkit.steps.forget import forget_run
    from unlearnkit.steps.of_run import source_of_run
    from unlearnkit.steps.output import Output
    from unlearnkit.steps.special_training import default_method
    from unlearnkit.steps.specs import CaseSpec

    runtime = Runtime.named(
        device, precision, micro_batch_size=micro_batch, compile=compile, count_operations=count_operations
    )
    options = audit_options(retrained, shadows, head, audit_data, quick=quick, full=full, references=references)
    if no_audit and (retrained or references or shadows or quick or full or audit_data or head):
        raise ConfigError("Expected --no-audit alone, but got an option of the audit too; leave one of them out.")
    if of is not None:
        if weights is not None:
            raise ConfigError("Expected --of or --weights, but got both; leave one of them out.")
        found = source_of_run(of, data)
        weights, data = str(found.weights), found.data
        image_column, label_column = image_column or found.image_column, label_column or found.label_column
    if data is None:
        raise ConfigError("Expected the data of the model, but got none; give --data, or the run folder with --of.")
    named = opt.weights_of(weights, model)
    spec = CaseSpec(
        weights=named,
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
    result = forget_run(
        spec,
        MethodChoice(method or default_method(named), preset, settings or []),
        Output(out, overwrite, include_images, language, command_line(), ledger),
        audit=None if no_audit else options,
        seed=seed,
        runtime=runtime,
        progress=progress_of(quiet, runtime),
        tracker=track,
        tolerance=tolerance,
        strict=strict,
    )
    if runtime.processes.is_main:
        print_result(result, as_json, quiet)
        if strict and not no_audit:
            exit_strictly(result["audit"])
