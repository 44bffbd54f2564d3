"""Runs the demo on the bundled digits: train, retrain three times, forget, audit and report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearnkit.errors import OutputError
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.runtime.progress import Progress
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.auditing import AuditOptions
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import CaseSpec, TrainSpec
from unlearnkit.steps.train import train_run

FORGOTTEN = ("1", "3", "5", "7", "9")  # of one digit alone, the features of the others tell too much
MODEL = "small-cnn"
METHOD = "shrink-distill"  # its settings were chosen on these digits: a success to look at, no advice (docs/start.md)
ARTICLE = "unsir"
RETRAINED = 3


def demo_run(output: Output, *, seed: int = 0, progress: Progress | None = None) -> dict[str, Any]:
    """Run the whole flow into OUT/original, OUT/retrained-1 to -3 and OUT/unlearned; return the forget summary.

    Its entry `next` is a command to try then: the same digits, forgotten by the article's method and audited alike.

    Raises:
        ConfigError: there is no report in that language.
        OutputError: the folder exists, or cannot be written.
    """
    out = output.folder
    if out.exists() and not output.overwrite:
        raise OutputError(f"Expected a new output folder, but {out} exists; choose another or add --overwrite.")
    retrained = [f"retrained-{i + 1}" for i in range(RETRAINED)]
    outputs = {name: replace(output, folder=out / name) for name in ("original", *retrained, "unlearned")}
    for run_output in outputs.values():
        run_output.check()
    runtime = Runtime()
    for i, name in enumerate(("original", *retrained)):
        exclude = FORGOTTEN if i else ()
        if progress:
            progress.say(f"{name}: training on " + ("the even digits" if exclude else "digits"))
        spec = TrainSpec(model=MODEL, data="digits", exclude=exclude)
        train_run(spec, replace(outputs[name], language=None), seed=seed + i, runtime=runtime, progress=progress)
    if progress:
        progress.say("unlearned: forgetting the odd digits without reading one of them")
    summary = forget_run(
        CaseSpec(weights=out / "original" / WEIGHTS, data="digits", forget=FORGOTTEN),
        MethodChoice(METHOD),
        outputs["unlearned"],
        audit=AuditOptions(retrained=[out / name / WEIGHTS for name in retrained]),
        seed=seed,
        runtime=runtime,
        progress=progress,
    )
    return summary | {"next": shlex.join(_next(out, [out / name / WEIGHTS for name in retrained], seed))}


def _next(out: Path, retrained: Sequence[Path], seed: int) -> list[str]:
    """Return the words of the command that forgets the same by the article's method, beside the demo's own run."""
    words = ["unlearnkit", "forget", "--of", str(out / "original")]
    for name in FORGOTTEN:
        words += ["--forget", name]
    for weights in retrained:
        words += ["--retrained", str(weights)]
    words += ["--seed", str(seed)] if seed else []
    return [*words, "--method", ARTICLE, "--out", str(out / f"unlearned-{ARTICLE}")]
