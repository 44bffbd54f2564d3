"""The step behind `demo`: train, retrain three times, forget, audit and report on the bundled digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearnkit.errors import OutputError
from unlearnkit.methods import UNSIR
from unlearnkit.run_dir import WEIGHTS, check_output
from unlearnkit.runtime.progress import Progress
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.auditing import AuditOptions
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.report import check_language
from unlearnkit.steps.train import train_run

FORGOTTEN = ("1", "3", "5", "7", "9")  # of one digit alone, the features of the others tell too much
MODEL = "small-cnn"
RETRAINED = 3


def demo_run(
    *,
    out: Path,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    language: str | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Run the whole flow into `out`/original, `out`/retrained-1 to -3 and `out`/unlearned; returns the forget summary.

    `language` is that of the report.

    Raises:
        ConfigError: there is no report in that language.
        OutputError: `out` exists, or cannot be written.
    """
    if out.exists() and not overwrite:
        raise OutputError(f"Expected a new output folder, but {out} exists; choose another or add --overwrite.")
    check_language(language)
    retrained = [f"retrained-{i + 1}" for i in range(RETRAINED)]
    folders = {name: out / name for name in ("original", *retrained, "unlearned")}
    for folder in folders.values():
        check_output(folder, overwrite=overwrite)
    runtime = Runtime()
    for i, name in enumerate(("original", *retrained)):
        exclude = FORGOTTEN if i else ()
        if progress:
            progress.say(f"{name}: training on " + ("the even digits" if exclude else "digits"))
        train_run(
            model=MODEL,
            data="digits",
            out=folders[name],
            exclude=exclude,
            seed=seed + i,
            runtime=runtime,
            progress=progress,
            overwrite=overwrite,
            command=command,
        )
    if progress:
        progress.say("unlearned: forgetting the odd digits without reading one of them")
    return forget_run(
        weights=folders["original"] / WEIGHTS,
        data="digits",
        forget=FORGOTTEN,
        method=UNSIR(),
        method_name="unsir",
        out=folders["unlearned"],
        audit=AuditOptions(retrained=[folders[name] / WEIGHTS for name in retrained]),
        seed=seed,
        runtime=runtime,
        progress=progress,
        overwrite=overwrite,
        language=language,
        command=command,
    )
