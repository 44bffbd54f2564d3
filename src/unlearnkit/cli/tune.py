"""Defines the command `unlearnkit tune`: its options, and the step that they call."""

from __future__ import annotations

from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import command_line, inputs_of, print_result, progress_of, rows_of


def command(
    data: opt.Data,
    out: opt.Out,
    forget: opt.Forget = [],  # noqa: B006 - typer reads the default, nobody changes it
    forget_rows: opt.ForgetRows = None,
    forget_where: opt.ForgetWhere = None,
    forget_subclass: opt.ForgetSubclass = None,
    weights: opt.MaybeWeights = None,
    model: opt.MaybeModel = None,
    weights_key: opt.WeightsKey = None,
    method: opt.TunedMethod = None,
    preset: opt.Preset = "default",
    settings: opt.Settings = None,
    trials: Annotated[int, typer.Option("--trials", help="runs of the method, the same budget for each method")] = 20,
    look_at_forgotten: Annotated[
        bool,
        typer.Option("--look-at-forgotten", help="judge by forgotten training samples, though the method reads none"),
    ] = False,
    already_forgotten: opt.Already = None,
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
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find a method's best settings for a model, on retained validation data; settings given with --set are kept."""
    from unlearnkit.methods.choice import TUNED, MethodChoice
    from unlearnkit.runtime.runtime import Runtime
    from unlearnkit.steps.output import Output
    from unlearnkit.steps.specs import CaseSpec, SearchSpec
    from unlearnkit.steps.tune import tune_run

    options = {
        "--image-size": image_size,
        "--crop-pct": crop_pct,
        "--interpolation": interpolation,
        "--mean": mean,
        "--std": std,
        "--channels": channels,
        "--classes": classes,
        "--image-column": image_column,
        "--label-column": label_column,
        "--storage": storage if storage != "auto" else None,
        "--workers": workers,
        "--device": device,
        "--precision": precision if precision != "auto" else None,
        "--micro-batch": micro_batch,
    }
    spec = CaseSpec(
        weights=opt.weights_of(weights, model),
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
        rows=rows_of(forget_rows, forget_where, forget_subclass),  # refused with the reason
    )
    forget_options = [
        *(word for name, value in options.items() if value is not None for word in (name, str(value))),
        *(["--compile"] if compile else []),
    ]
    result = tune_run(
        spec,
        MethodChoice(method or TUNED, preset, settings or []),
        Output(out, overwrite, command=command_line()),
        search=SearchSpec(trials=trials, look_at_forgotten=look_at_forgotten, forget_options=forget_options),
        seed=seed,
        runtime=Runtime.named(device, precision, micro_batch_size=micro_batch, compile=compile),
        progress=progress_of(quiet),
    )
    print_result(result, as_json, quiet)
