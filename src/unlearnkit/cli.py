"""The command line: parse, call a step, print. Exit codes: 0 done, 1 the work failed, 2 the request was wrong."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unlearnkit.errors import ConfigError, UnlearnkitError
from unlearnkit.options import (
    DATA_HELP,
    Already,
    AuditData,
    Channels,
    Classes,
    Compile,
    Data,
    Device,
    Forget,
    Full,
    Head,
    ImageSize,
    IncludeImages,
    Json,
    Language,
    MaybeModel,
    Mean,
    MethodName,
    MicroBatch,
    Model,
    Out,
    Overwrite,
    Precision,
    Preset,
    Quick,
    Quiet,
    Retrained,
    Seed,
    Settings,
    Shadows,
    Std,
    Storage,
    Tracker,
    Weights,
    Workers,
)

if TYPE_CHECKING:
    from unlearnkit.steps.judge import AuditOptions

app = typer.Typer(
    name="unlearnkit",
    help="Make a trained image classifier forget classes, and show the evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="folder to write")] = Path("unlearnkit-demo"),
    seed: Seed = 0,
    language: Language = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on bundled digits, retrain without the odd ones, forget them, audit, report; under a minute."""
    from unlearnkit.steps.demo import demo_run

    result = demo_run(
        out=out, seed=seed, overwrite=overwrite, progress=_progress(quiet), language=language, command=_command()
    )
    _print(result, as_json, quiet)


@app.command()
def train(
    model: Model,
    data: Data,
    out: Out,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="class to leave out; repeatable")] = None,
    init: Annotated[Path | None, typer.Option("--init", help="weights to start from")] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="start from the architecture's published weights (timm, torchvision)")
    ] = False,
    epochs: Annotated[int | None, typer.Option("--epochs", help="passes over the training data")] = None,
    settings: Settings = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    channels: Channels = None,
    classes: Classes = None,
    storage: Storage = "auto",
    workers: Workers = None,
    device: Device = None,
    precision: Precision = "auto",
    micro_batch: MicroBatch = None,
    compile: Compile = False,
    track: Tracker = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model; with --exclude, the model retrained without some classes."""
    from unlearnkit.runtime import Runtime
    from unlearnkit.steps.train import train_run

    runtime = Runtime.named(device, precision, micro_batch_size=micro_batch, compile=compile)
    changes = list(settings or []) + ([f"epochs={epochs}"] if epochs is not None else [])
    result = train_run(
        model=model,
        data=data,
        out=out,
        exclude=exclude or [],
        init=init,
        pretrained=pretrained,
        seed=seed,
        settings=changes,
        preprocessing=_preprocessing(image_size, mean, std, channels, classes, storage, workers),
        runtime=runtime,
        progress=_progress(quiet, runtime),
        tracker=track,
        overwrite=overwrite,
        command=_command(),
    )
    if runtime.processes.is_main:
        _print(result, as_json, quiet)


@app.command()
def forget(
    weights: Weights,
    data: Data,
    out: Out,
    forget: Forget = [],  # noqa: B006 - typer reads the default, nobody changes it
    model: MaybeModel = None,
    method: MethodName = "unsir",
    preset: Preset = "default",
    settings: Settings = None,
    already_forgotten: Already = None,
    retrained: Retrained = None,
    shadows: Shadows = None,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="stop after forgetting")] = False,
    quick: Quick = False,
    full: Full = False,
    audit_data: AuditData = None,
    include_images: IncludeImages = False,
    head: Head = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    channels: Channels = None,
    classes: Classes = None,
    storage: Storage = "auto",
    workers: Workers = None,
    device: Device = None,
    precision: Precision = "auto",
    micro_batch: MicroBatch = None,
    compile: Compile = False,
    track: Tracker = None,
    language: Language = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a model forget classes, then audit and report."""
    from unlearnkit.methods import make_method
    from unlearnkit.runtime import Runtime
    from unlearnkit.steps.forget import forget_run

    runtime = Runtime.named(device, precision, micro_batch_size=micro_batch, compile=compile)
    options = _audit_options(retrained, shadows, head, audit_data, quick=quick, full=full)
    if no_audit and (retrained or shadows or quick or full or audit_data or head):
        raise ConfigError("Expected --no-audit alone, but got an option of the audit too; leave one of them out.")
    result = forget_run(
        weights=weights,
        data=data,
        forget=forget,
        method=make_method(method, preset, settings or []),
        method_name=method,
        preset=preset,
        overrides=settings or [],
        out=out,
        model=model,
        already_forgotten=already_forgotten or [],
        seed=seed,
        preprocessing=_preprocessing(image_size, mean, std, channels, classes, storage, workers),
        runtime=runtime,
        progress=_progress(quiet, runtime),
        tracker=track,
        overwrite=overwrite,
        audit=None if no_audit else options,
        include_images=include_images,
        language=language,
        command=_command(),
    )
    if runtime.processes.is_main:
        _print(result, as_json, quiet)


@app.command()
def tune(
    weights: Weights,
    data: Data,
    out: Out,
    forget: Forget = [],  # noqa: B006 - typer reads the default, nobody changes it
    model: MaybeModel = None,
    method: MethodName = "unsir",
    preset: Preset = "default",
    settings: Settings = None,
    trials: Annotated[int, typer.Option("--trials", help="runs of the method, the same budget for each method")] = 20,
    look_at_forgotten: Annotated[
        bool,
        typer.Option("--look-at-forgotten", help="judge by forgotten training samples, though the method reads none"),
    ] = False,
    already_forgotten: Already = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    channels: Channels = None,
    classes: Classes = None,
    storage: Storage = "auto",
    workers: Workers = None,
    device: Device = None,
    precision: Precision = "auto",
    micro_batch: MicroBatch = None,
    compile: Compile = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find a method's settings for a model, on retained validation data; settings given with --set stay."""
    from unlearnkit.methods import make_method
    from unlearnkit.runtime import Runtime
    from unlearnkit.steps.tune import tune_run

    options = {
        "--image-size": image_size,
        "--mean": mean,
        "--std": std,
        "--channels": channels,
        "--classes": classes,
        "--storage": storage if storage != "auto" else None,
        "--workers": workers,
        "--device": device,
        "--precision": precision if precision != "auto" else None,
        "--micro-batch": micro_batch,
    }
    result = tune_run(
        weights=weights,
        data=data,
        forget=forget,
        method=make_method(method, preset, settings or []),
        method_name=method,
        preset=preset,
        overrides=settings or [],
        out=out,
        trials=trials,
        look_at_forgotten=look_at_forgotten,
        model=model,
        already_forgotten=already_forgotten or [],
        seed=seed,
        preprocessing=_preprocessing(image_size, mean, std, channels, classes, storage, workers),
        runtime=Runtime.named(device, precision, micro_batch_size=micro_batch, compile=compile),
        progress=_progress(quiet),
        overwrite=overwrite,
        options=[
            *(word for name, value in options.items() if value is not None for word in (name, str(value))),
            *(["--compile"] if compile else []),
        ],
        command=_command(),
    )
    _print(result, as_json, quiet)


@app.command()
def audit(
    folder: Annotated[Path | None, typer.Argument(help="run folder made by `forget`")] = None,
    original: Annotated[Path | None, typer.Option("--original", help="weights before forgetting")] = None,
    unlearned: Annotated[Path | None, typer.Option("--unlearned", help="weights after forgetting")] = None,
    retrained: Retrained = None,
    shadows: Shadows = None,
    model: MaybeModel = None,
    data: Annotated[str | None, typer.Option("--data", help=DATA_HELP)] = None,
    forget: Forget = [],  # noqa: B006 - typer reads the default, nobody changes it
    already_forgotten: Already = None,
    out: Annotated[Path | None, typer.Option("--out", help="folder to write, for two weights files")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit with 3 unless the verdict is a pass")] = False,
    quick: Quick = False,
    full: Full = False,
    audit_data: AuditData = None,
    include_images: IncludeImages = False,
    head: Head = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    channels: Channels = None,
    classes: Classes = None,
    storage: Storage = "auto",
    workers: Workers = None,
    device: Device = None,
    precision: Precision = "auto",
    language: Language = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Audit a run folder, or any two weights files (--original, --unlearned, --data, --forget, --out)."""
    from unlearnkit.runtime import Runtime
    from unlearnkit.steps.audit import audit_folder, audit_pair

    runtime, progress = Runtime.named(device, precision), _progress(quiet)
    options = _audit_options(retrained, shadows, head, audit_data, quick=quick, full=full)
    if folder is not None:
        pair_options = {
            "--original": original,
            "--unlearned": unlearned,
            "--data": data,
            "--forget": forget,
            "--out": out,
            "--already-forgotten": already_forgotten,
            "--image-size": image_size,
            "--mean": mean,
            "--std": std,
            "--channels": channels,
            "--classes": classes,
        }
        given = [name for name, value in pair_options.items() if value]
        if given:
            raise ConfigError(
                f"Expected a run folder alone, but got {given[0]} too; that option is for two weights files."
            )
        result = audit_folder(
            folder,
            options=options,
            model=model,
            include_images=include_images,
            seed=seed,
            runtime=runtime,
            progress=progress,
            language=language,
            command=_command(),
        )
    elif original is None or unlearned is None or data is None or out is None:
        raise ConfigError(
            "Expected a run folder, or --original, --unlearned, --data, --forget and --out together; "
            "one of them is missing."
        )
    else:
        result = audit_pair(
            model=model,
            original=original,
            unlearned=unlearned,
            data=data,
            forget=forget,
            already_forgotten=already_forgotten or [],
            out=out,
            options=options,
            include_images=include_images,
            seed=seed,
            preprocessing=_preprocessing(image_size, mean, std, channels, classes, storage, workers),
            runtime=runtime,
            progress=progress,
            language=language,
            overwrite=overwrite,
            command=_command(),
        )
    _print({"audit": result, "out": str(folder or out)}, as_json, quiet)
    if strict and result["verdict"]["status"] != "pass":
        raise typer.Exit(3)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="run folder")], language: Language = None, quiet: Quiet = False
) -> None:
    """Write the report of a run folder anew."""
    from unlearnkit.steps.report import report_run

    path = report_run(folder, language=language)
    if not quiet:
        print(path)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="run folder")], as_json: Json = False, quiet: Quiet = False
) -> None:
    """Hash a run folder's files and inputs again; exit with 1 where they are not as recorded."""
    from unlearnkit.show import show_verified
    from unlearnkit.steps.verify import verify_run

    result = verify_run(folder)
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    elif not quiet:
        show_verified(result)
    if not result["ok"]:
        raise typer.Exit(1)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="run folder made by `forget`, or its weights file")],
    out: Out,
    model: MaybeModel = None,
    head: Head = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a smaller model without the forgotten outputs."""
    from unlearnkit.steps.export import export_run

    result = export_run(folder, out=out, model=model, head=head, overwrite=overwrite, command=_command())
    _print(result, as_json, quiet)


@app.command()
def methods(
    names: Annotated[list[str] | None, typer.Argument(help="methods whose settings are wanted")] = None,
    cards: Annotated[bool, typer.Option("--cards", help="print the method cards as a Markdown page")] = False,
    as_json: Json = False,
) -> None:
    """List the unlearning methods and what they read and cost; of those named, also presets and settings."""
    from unlearnkit.methods import METHODS, describe_methods, method_cards
    from unlearnkit.show import show_methods, show_settings

    if cards:
        print(method_cards(names or METHODS), end="")
        return
    described = describe_methods(names or METHODS)
    if as_json:
        print(json.dumps(described, indent=2))
    elif names:
        show_settings(described)
    else:
        show_methods(described)


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="part of a name, or a pattern such as *resnet*")] = "",
    as_json: Json = False,
) -> None:
    """List the architectures that --model takes by name."""
    from unlearnkit.steps.models import model_names

    names = model_names(pattern)
    print(json.dumps(names, indent=2) if as_json else "\n".join(names))


def main() -> None:
    """Entry point: a named error becomes one line on standard error and its exit code."""
    rank = os.environ.get("RANK", "0")
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and sys.argv[1:2] not in (["train"], ["forget"]):
            raise ConfigError(
                "Expected `train` or `forget` where a launcher starts several processes; "
                "start the other commands without it."
            )
        app()
    except UnlearnkitError as error:
        print(f"unlearnkit{'' if rank == '0' else f' (process {rank})'}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _command() -> list[str]:
    return ["unlearnkit", *sys.argv[1:]]


def _progress(quiet: bool, runtime: Any = None) -> Any:
    from unlearnkit.progress import progress_for_stderr
    from unlearnkit.runlog import Silent

    return Silent() if quiet or (runtime and not runtime.processes.is_main) else progress_for_stderr()


def _audit_options(
    retrained: list[Path] | None,
    shadows: list[Path] | None,
    head: str | None,
    audit_data: str | None,
    *,
    quick: bool,
    full: bool,
) -> AuditOptions:
    from unlearnkit.steps.judge import AuditOptions, Depth

    return AuditOptions(
        retrained=retrained or (),
        shadows=shadows or (),
        head=head,
        depth=Depth.chosen(quick=quick, full=full),
        audit_data=audit_data,
    )


def _preprocessing(
    image_size: int | None,
    mean: str | None,
    std: str | None,
    channels: str | None,
    classes: Path | None,
    storage: Literal["auto", "memory", "stream"],
    workers: int | None,
) -> Any:
    from unlearnkit.steps.common import Preprocessing, read_classes

    return Preprocessing(
        image_size=image_size,
        mean=_floats("--mean", mean),
        std=_floats("--std", std),
        channels=_channels(channels),
        classes=read_classes(classes) if classes else None,
        storage=storage,
        workers=workers,
    )


def _channels(text: str | None) -> Literal[1, 3] | None:
    if text is None:
        return None
    if text not in ("1", "3"):
        raise ConfigError(f"Expected 1 or 3 for --channels, but got {text!r}; 3 is the default.")
    return 1 if text == "1" else 3


def _floats(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"Expected numbers with commas between them for {name}, but got {text!r}.") from error


def _print(result: dict[str, Any], as_json: bool, quiet: bool) -> None:
    from unlearnkit.show import show_result

    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    elif not quiet:
        show_result(result)
