"""Defines the command `unlearnkit train`: its options, and the step that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import command_line, inputs_of, print_result, progress_of, rows_of


def command(
    model: opt.Model,
    data: opt.Data,
    out: opt.Out,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="class to leave out; repeatable")] = None,
    exclude_rows: opt.ExcludeRows = None,
    exclude_where: opt.ExcludeWhere = None,
    exclude_subclass: opt.ExcludeSubclass = None,
    init: Annotated[Path | None, typer.Option("--init", help="weights to start from")] = None,
    weights_key: opt.WeightsKey = None,
    trust_inputs: opt.TrustInputs = False,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="start from the architecture's published weights (timm, torchvision)")
    ] = False,
    epochs: Annotated[int | None, typer.Option("--epochs", help="passes over the training data")] = None,
    settings: opt.Settings = None,
    shards: opt.Shards = None,
    slices: opt.Slices = None,
    dp_epsilon: opt.DpEpsilon = None,
    dp_delta: opt.DpDelta = None,
    dp_max_grad_norm: opt.DpMaxGradNorm = None,
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
    storage: opt.Storage = "auto",
    workers: opt.Workers = None,
    device: opt.Device = None,
    precision: opt.Precision = "auto",
    micro_batch: opt.MicroBatch = None,
    compile: opt.Compile = False,
    count_operations: opt.CountOperations = False,
    track: opt.Tracker = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train a model; with --exclude, the model retrained without some classes."""
    from unlearnkit.runtime.runtime import Runtime
    from unlearnkit.steps.output import Output
    from unlearnkit.steps.specs import TrainSpec, privacy_of, sharding_of
    from unlearnkit.steps.train import train_run

    runtime = Runtime.named(
        device, precision, micro_batch_size=micro_batch, compile=compile, count_operations=count_operations
    )
    changes = list(settings or []) + ([f"epochs={epochs}"] if epochs is not None else [])
    spec = TrainSpec(
        model=model,
        data=data,
        exclude=exclude or [],
        init=init,
        pretrained=pretrained,
        settings=changes,
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
        exclude_rows=rows_of(exclude_rows, exclude_where, exclude_subclass).choice,
        sharding=sharding_of(shards, slices),
        privacy=privacy_of(dp_epsilon, dp_delta, dp_max_grad_norm),
    )
    output = Output(out, overwrite=overwrite, command=command_line())
    result = train_run(
        spec,
        output,
        seed=seed,
        runtime=runtime,
        progress=progress_of(quiet, runtime),
        tracker=track,
        resume=resume,
    )
    if runtime.processes.is_main:
        print_result(result, as_json, quiet)
