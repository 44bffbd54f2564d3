"""Holds what the commands share: settings from options, the progress line, and the printed result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from unlearnkit.class_names import decoded_lines, repeated, unprintable
from unlearnkit.disk.files import read_regular
from unlearnkit.errors import ConfigError
from unlearnkit.runtime.terminal import print_json

AUTO = "auto"  # the reference bank's usual place

if TYPE_CHECKING:
    from unlearnkit.steps.auditing import AuditOptions
    from unlearnkit.steps.opening import InputOptions
    from unlearnkit.steps.rows import RowRequest


def command_line() -> list[str]:
    """Return the words of the command, as the manifest records them."""
    return ["unlearnkit", *sys.argv[1:]]


def progress_of(quiet: bool, runtime: Any = None) -> Any:
    """Return the progress line on standard error; it is silent if unwanted, and in all processes but the main one."""
    from unlearnkit.cli.progress import progress_for_stderr
    from unlearnkit.runtime.progress import Silent

    return Silent() if quiet or (runtime and not runtime.processes.is_main) else progress_for_stderr()


def audit_options(
    retrained: list[Path] | None,
    shadows: list[Path] | None,
    head: str | None,
    audit_data: str | None,
    *,
    quick: bool,
    full: bool,
    references: str | None = None,
) -> AuditOptions:
    """Turn the options of an audit into AuditOptions."""
    from unlearnkit.steps.auditing import AuditOptions, Depth
    from unlearnkit.steps.reference_bank import default_bank

    return AuditOptions(
        retrained=retrained or (),
        references=None if references is None else default_bank() if references == AUTO else Path(references),
        shadows=shadows or (),
        head=head,
        depth=Depth.chosen(quick=quick, full=full),
        audit_data=audit_data,
    )


def rows_of(
    file: Path | None, where: list[str] | None, subclasses: list[str] | None, *, duplicates: bool = True
) -> RowRequest:
    """Turn the options on rows into a RowRequest."""
    from unlearnkit.steps.rows import RowRequest

    return RowRequest.by_hand(file, where or (), subclasses or (), duplicates=duplicates)


def inputs_of(
    image_size: int | None,
    crop_pct: float | None,
    interpolation: str | None,
    mean: str | None,
    std: str | None,
    channels: str | None,
    classes: Path | None,
    storage: Literal["auto", "memory", "stream"],
    workers: int | None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> InputOptions:
    """Check the options on images, and turn them into InputOptions."""
    from unlearnkit.steps.opening import InputOptions

    return InputOptions.by_hand(
        size=image_size,
        crop=crop_pct,
        interpolation=interpolation,
        mean=_floats("--mean", mean),
        std=_floats("--std", std),
        channels=_channels(channels),
        classes=read_classes(classes) if classes else None,
        classes_file=classes,
        storage=storage,
        workers=workers,
        image_column=image_column,
        label_column=label_column,
    )


def print_result(result: dict[str, Any], as_json: bool, quiet: bool) -> None:
    """Print the result for people or as JSON, or print nothing."""
    from unlearnkit.cli.show import show_result

    if as_json:
        print_json(result)
    elif not quiet:
        show_result(result)


def exit_strictly(audit: dict[str, Any]) -> None:
    """End the command as `--strict` asks: 4 where the model did not forget, 3 without a pass otherwise."""
    if audit["notices"]:
        raise typer.Exit(4)
    if audit["verdict"]["status"] != "pass":
        raise typer.Exit(3)


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
        raise ConfigError(
            f"Expected numbers with commas between them for {name}, but got {text!r}; write them as 0.5,0.5,0.5."
        ) from error


def read_classes(path: Path) -> tuple[str, ...]:
    """Read a class list: one name on each line, in the order of the model's outputs.

    The text is UTF-8, with or without a byte-order mark, or UTF-16 with one; names become Unicode's normal form C.

    Raises:
        ConfigError: the file cannot be read, is empty, or names a class twice.
    """
    try:
        names = decoded_lines(read_regular(path))
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"Expected a text file with class names at {path}, but it cannot be read ({error}); "
            "write one name on each line."
        ) from error
    wrong = next(filter(unprintable, names), None)
    if wrong is not None:
        raise ConfigError(f"Expected class names without control characters in {path}, but got {wrong!r}; rename it.")
    twice = repeated(names)
    if not names or twice is not None:
        got = f"{twice!r} stands there twice" if names else "it is empty"
        raise ConfigError(f"Expected distinct class names in {path}, but {got}; write one name on each line.")
    return names
