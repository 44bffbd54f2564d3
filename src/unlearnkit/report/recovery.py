"""Draws what can be recovered: the probe by depth, relearning by few shots or on retained data, membership."""

from __future__ import annotations

from unlearnkit.report.curves import curve_panel
from unlearnkit.report.facts import Run
from unlearnkit.report.panel import Panel, missing
from unlearnkit.report.rows import dots, names_of, panel_of, series_of
from unlearnkit.report.svg import Scale
from unlearnkit.report.text import percent, span


def probe(run: Run) -> Panel:
    """Draw the recovery of the forgotten classes by a linear probe, layer by layer."""
    series = series_of(run, "probe_recovery", "forget_test")
    layers = names_of(series)
    if not layers:
        return missing(run, "probe", "probe_recovery")
    rows = [dots(run, layer, series, flags=False) for layer in layers]
    return panel_of(run, "probe", rows, Scale(low=0, high=1), _against(run, "probe_recovery"), of="layer")


def few_shot(run: Run) -> Panel:
    """Draw the recovery of the forgotten classes after training on a few samples of every class."""
    found = _against(run, "few_shot_recovery")
    return curve_panel(
        run,
        "few_shot",
        "few_shot_recovery",
        "forget_test",
        x_name=run.words.SHOTS,
        column="samples of every class",
        found=found,
    )


def returned(run: Run) -> Panel:
    """Draw the recovery by training on retained data alone: before, and after each number and size of steps."""
    series = series_of(run, "return_recovery", run.shown_part)
    trainings = names_of(series)
    if not trainings:
        return missing(run, "return", "return_recovery")
    rows = [dots(run, training, series, flags=False) for training in trainings]
    return panel_of(
        run, "return", rows, Scale(low=0, high=1), _against(run, "return_recovery", run.shown_part), of="training"
    )


def membership(run: Run) -> Panel:
    """Draw true against false positive rates of the membership attack by loss."""
    readings = run.find("membership_tpr_loss", "unlearned")
    if readings and readings[0].value is not None and not readings[0].series:
        return Panel(key="membership", missing=run.words.NO_CURVE)
    found = _against(run, "membership_auc_loss", None, run.words.AREA)
    return curve_panel(
        run,
        "membership",
        "membership_tpr_loss",
        None,
        x_name=run.words.FALSE_POSITIVES,
        column="share of others called members",
        log=False,
        square=True,
        found=found,
        write_x=lambda v: f"{v * 100:.0f}%",
    )


def _against(run: Run, metric: str, part: str | None = "forget_test", said: str = "") -> str:
    """Return a sentence that compares the unlearned model's value with the retrained models'."""
    after = run.value(metric, "unlearned", part)
    retrained = [row.value for row in run.find(metric, "retrained", part) if row.value is not None]
    if after is None or not retrained:
        return ""
    ends = (min(retrained), max(retrained))
    beside = span(ends, "fraction", run.words) if ends[0] != ends[1] else percent(ends[0])
    return (said or run.words.AGAINST).format(percent(after), beside)
