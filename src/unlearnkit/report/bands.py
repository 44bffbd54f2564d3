"""Draws each primary reading with the band in which it passes, and lists what could not be established."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from unlearnkit.report.facts import Row, Run
from unlearnkit.report.figures import Dots, Write, dot_axis, dot_rows
from unlearnkit.report.panel import MODELS, Panel, Picture
from unlearnkit.report.sentences import marked, title_of, title_of_vote
from unlearnkit.report.svg import Scale, linear_scale
from unlearnkit.report.table import Table
from unlearnkit.report.text import listed, number, percent, span
from unlearnkit.report.words import Words

REASONS = ("unknown", "unresolved")  # doubts that say why a reading has no verdict, the first before the second
STATUSES = ("pass", "fail", "unknown")


@dataclass(frozen=True, kw_only=True)
class Primary:
    """One primary reading: its short and its full name, its rows by model, and its judgement."""

    key: str
    name: str
    title: str
    rows: dict[str, list[Row]]
    words: Words

    @property
    def judged(self) -> Row | None:
        """The unlearned model's row, which holds the judgement."""
        return next(iter(self.rows["unlearned"]), None)

    @property
    def status(self) -> str:
        """The judgement: pass, fail or unknown."""
        return self.judged.verdict if self.judged and self.judged.verdict in STATUSES else "unknown"

    @property
    def reason(self) -> Markup:
        """The reason why the judgement is unknown."""
        if self.judged is None:
            return escape(self.words.NOT_MEASURED)
        ranked = [(REASONS.index(d.code), d.reason) for d in self.judged.doubts if d.code in REASONS]
        reasons = [reason for _, reason in sorted(ranked, key=lambda pair: pair[0]) if reason is not None]
        return marked(reasons[0], self.words) if reasons else escape(self.words.NOT_JUDGED)

    def values(self, model: str) -> list[float]:
        """Return the measured values of a model."""
        return [row.value for row in self.rows[model] if row.value is not None]


def primaries(run: Run) -> list[Primary]:
    """Return every primary reading, measured or not."""
    found, words = [], run.words
    for key in run.votes:
        metric, _, part = key.partition("/")
        rows = {model: run.find(metric, model, part or None) for model in MODELS}
        name = words.PRIMARY.get(key, title_of(metric, words))
        found.append(Primary(key=key, name=name, title=title_of_vote(key, words), rows=rows, words=words))
    return found


def unresolved(run: Run) -> list[tuple[str, Markup]]:
    """Return (readings, reason) of what the audit could not establish, joined by reason."""
    if run.audit is None:
        return []
    words = run.words
    by_reason: dict[Markup, list[str]] = {}
    everything = primaries(run)
    for primary in everything:
        if primary.status == "unknown":
            by_reason.setdefault(primary.reason, []).append(primary.title)
    return [
        (
            words.ALL_PRIMARY.format(len(titles)) if len(titles) == len(everything) else words.SEMICOLON.join(titles),
            reason,
        )
        for reason, titles in by_reason.items()
    ]


def bands(run: Run) -> Panel:
    """Draw the primary readings as rows of marks, each on its own scale, over the band in which it passes."""
    words = run.words
    shown = [primary for primary in primaries(run) if any(primary.values(model) for model in MODELS)]
    if not shown:
        return Panel(key="bands", missing=words.NO_BANDS)
    rows = [_row(primary) for primary in shown]
    models = tuple(model for model in MODELS if any(primary.values(model) for primary in shown))
    title = words.FIGURES["bands"][0]
    description = words.SEMICOLON.join(map(_told, shown))
    return Panel(
        key="bands",
        pictures=[Picture(svg=dot_rows(rows, None, number, title=title, description=description, words=words))],
        axis=dot_axis(None, number, title=words.COLUMNS_OF.format(title), models=models, words=words),
        found=_found(shown, words),
        models=models,
        more=words.BAND_COLUMNS,
        numbers=[
            (primary.title, [*(_written(primary.rows[model], words) for model in models), *_judgement(primary)])
            for primary in shown
        ],
        data=Table(
            columns=("reading", "unit", "model", "replicate", "value", "band from", "band to", "gap", "verdict"),
            rows=[
                (primary.key, row.unit, model, row.replicate + 1, row.value, *(row.band or (None, None)), row.gap,
                 primary.status if model == "unlearned" else None)
                for primary in shown for model in models for row in primary.rows[model]
            ],
        ),
    )  # fmt: skip


def _row(each: Primary) -> Dots:
    band = _band(each)
    unit = next(row.unit for model in MODELS for row in each.rows[model])
    values = {model: each.values(model) for model in MODELS}
    return Dots(
        label=each.name,
        values=values,
        sign=each.words.VERDICTS[each.status][0],
        tip=_told(each),
        band=band,
        scale=_scale(
            unit,
            [value for found in values.values() for value in found] + [end for end in band or () if end is not None],
        ),
        write=_write(unit),
        beyond={model: [row.censored for row in each.rows[model] if row.value is not None] for model in MODELS},
    )


def _band(each: Primary) -> tuple[float | None, float | None] | None:
    """Return the band, rounded so that errors from the change of scale vanish: 1e-18 becomes 0."""
    if each.judged is None or each.judged.band is None:
        return None
    low, high = each.judged.band
    return None if low is None else round(low, 9), None if high is None else round(high, 9)


def _scale(unit: str, values: Sequence[float]) -> Scale:
    """Return a scale from the lowest to the highest value with a little room; logarithmic for steps."""
    low, high = min(values), max(values)
    if unit == "steps" and low > 0:
        return Scale(low=low / 1.25, high=high * 1.25, log=True)
    if low == high:
        return linear_scale(values)
    room = 0.06 * (high - low)
    return Scale(low=low - room, high=high + room)


def _write(unit: str) -> Write:
    return percent if unit == "fraction" else number


def _written(rows: Sequence[Row], words: Words) -> str:
    known = [row for row in rows if row.value is not None]
    texts = [("> " if row.censored else "") + _write(row.unit)(row.value) for row in known if row.value is not None]
    return " / ".join(texts) if texts else words.UNKNOWN


def _judgement(each: Primary) -> list[str]:
    judged = each.judged
    band = span(_band(each), judged.unit, each.words) if judged else ""
    gap = number(judged.gap) if judged and judged.gap is not None else ""
    return [band, gap, each.words.STATUS[each.status]]


def _told(each: Primary) -> str:
    words, gap = each.words, each.judged.gap if each.judged else None
    far = "" if gap is None else words.COMMA + words.GAP.format(_of_the_way(gap))
    return each.title + words.COLON + words.STATUS[each.status] + far


def _of_the_way(gap: float) -> str:
    """Write how far a reading is from the retrained models' mean, 1 at the end of the band, as a percentage."""
    return f"{100 * gap:,.0f}%"


def _found(shown: Sequence[Primary], words: Words) -> str:
    counts = [
        words.COUNT_OF.format(sum(primary.status == status for primary in shown), words.STATUS[status])
        for status in STATUSES
    ]
    counted = listed(counts, words)
    resolved = [(primary.judged.gap, primary) for primary in shown if primary.judged and primary.judged.gap is not None
                and primary.status != "unknown"]  # fmt: skip
    if not resolved or not max(gap for gap, _ in resolved):
        return words.FOUND[0].format(counted)
    gap, worst = max(resolved, key=lambda pair: pair[0])
    return words.FOUND[1].format(counted, words.FARTHEST.format(worst.title, _of_the_way(gap)))
