"""Defines the command `unlearnkit forget`: its options, and the step that they call."""

from __future__ import annotations

from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import audit_options, command_line, inputs_of, print_result, progress_of
from unlearnkit.errors import ConfigError


def command(
    weights: opt.Weights,
    data: opt.Data,
    out: opt.Out,
    forget: opt.Forget = [],  # noqa: B006 - typer reads the default, nobody changes it
    model: opt.MaybeModel = None,
    method: opt.MethodName = "unsir",
    preset: opt.Preset = "default",
    settings: opt.Settings = None,
    already_forgotten: opt.Already = None,
    retrained: opt.Retrained = None,
    shadows: opt.Shadows = None,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="stop after forgetting")] = False,
    quick: opt.Quick = False,
    full: opt.Full = False,
    audit_data: opt.AuditData = None,
    include_images: opt.IncludeImages = False,
    head: opt.Head = None,
    seed: opt.Seed = 0,
    image_size: opt.ImageSize = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    channels: opt.Channels = None,
    classes: opt.Classes = None,
    storage: opt.Storage = "auto",
    workers: opt.Workers = None,
    device: opt.Device = None,
    precision: opt.Precision = "auto",
    micro_batch: opt.MicroBatch = None,
    compile: opt.Compile = False,
    track: opt.Tracker = None,
    language: opt.Language = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Make a model forget classes, then audit and report."""
    from unlearnkit.methods.choice import MethodChoice
    from unlearnkit.runtime.runtime import Runtime
    from unlearnkit.steps.forget import forget_run
    from unlearnkit.steps.output import Output
    from unlearnkit.steps.specs import CaseSpec

    runtime = Runtime.named(device, precision, micro_batch_size=micro_batch, compile=compile)
    options = audit_options(retrained, shadows, head, audit_data, quick=quick, full=full)
    if no_audit and (retrained or shadows or quick or full or audit_data or head):
        raise ConfigError("Expected --no-audit alone, but got an option of the audit too; leave one of them out.")
    spec = CaseSpec(
        weights=weights,
        data=data,
        forget=forget,
        already_forgotten=already_forgotten or [],
        model=model,
        inputs=inputs_of(image_size, mean, std, channels, classes, storage, workers),
    )
    result = forget_run(
        spec,
        MethodChoice(method, preset, settings or []),
        Output(out, overwrite, include_images, language, command_line()),
        audit=None if no_audit else options,
        seed=seed,
        runtime=runtime,
        progress=progress_of(quiet, runtime),
        tracker=track,
    )
    if runtime.processes.is_main:
        print_result(result, as_json, quiet)
