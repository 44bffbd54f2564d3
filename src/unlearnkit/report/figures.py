"""Draws the kinds of figure (rows of marks, bars, curves) from plain numbers and text, as pure functions.

Models are `original` (ring), `unlearned` (dot) and `retrained` (diamond), the same in every picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from unlearnkit.report.svg import MARKS, Scale, at, element, label, mark, picture, text
from unlearnkit.report.text import shorten
from unlearnkit.report.words import Words

LABEL = 15  # character cells of a label in the left margin
COLUMN = 62  # pixels of a column of numbers in the right margin
Write = Callable[[float], str]


@dataclass(frozen=True, kw_only=True)
class Dots:
    """One row of marks: a label, and the values of each model.

    Args:
        label: its name.
        values: by model.
        flag: marks the row, and is said when it is pointed at.
        sign: stands before the label.
        tip: is said when the label is pointed at, in place of the label.
        band: values between which a bar is drawn behind the marks; to the edge where an end is None.
        scale, write: its own, where it does not share the picture's.
        beyond: by model, which of its values were cut off: the true ones lie beyond.
    """

    label: str
    values: Mapping[str, Sequence[float]]
    flag: str = ""
    sign: str = ""
    tip: str = ""
    band: tuple[float | None, float | None] | None = None
    scale: Scale | None = None
    write: Write | None = None
    beyond: Mapping[str, Sequence[bool]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, with the mark of `model`; `open_end` says that the true value lies beyond it."""

    label: str
    value: float | None
    shown: str
    model: str = ""
    interval: tuple[float, float] | None = None
    open_end: bool = False
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line through (x, y) points in the style of `model`, with a mark at its end where `model` has one."""

    name: str
    points: Sequence[tuple[float, float]]
    model: str = "unlearned"


def dot_rows(
    rows: Sequence[Dots],
    scale: Scale | None,
    write: Write,
    *,
    title: str,
    description: str,
    words: Words,
    dense: bool = False,
) -> str:
    """Draw rows of marks with their numbers; a flagged row gets a band, and a cross before its label.

    Without a scale every row has its own, and there is no grid.
    """
    height = 18 if dense else 25 if scale else 32
    grid = _grid(scale, len(rows) * height) if scale else ""
    body = "".join(_dot_row(row, i * height, height, scale, write, words) for i, row in enumerate(rows))
    return picture(title, description, len(rows) * height, grid + body)


def dot_axis(scale: Scale | None, write: Write, *, title: str, models: Sequence[str], words: Words) -> str:
    """Draw the axis above `dot_rows`: the ticks of its scale, and the heads of the columns of numbers."""
    ticks = ""
    if scale:
        for value in scale.ticks():
            ticks += at(scale.position(value), 0, label(write(value), class_="tick", y=30, text_anchor="middle"))
    heads = "".join(
        element("g", MARKS[model], transform=f"translate({_column(model) - 9} 10)")
        + label(words.HEADS[model], class_="tick", x=_column(model), y=30, text_anchor="end")
        for model in models
    )
    return picture(title, words.AXIS, 36, ticks + _columns(heads))


def strip(values: Mapping[str, Sequence[float]], write: Write, *, title: str, words: Words) -> str:
    """Draw one small row from 0 to 100 % for a headline figure."""
    scale = Scale(low=0, high=1)
    by_model = [
        f"{words.NAMES[model]} {words.COMMA.join(map(write, found))}" for model, found in values.items() if found
    ]
    description = words.SEMICOLON.join(by_model) or words.UNKNOWN
    return picture(title, description, 22, _marks(values, 11, scale, write, "", words), style="strip")


def bars(rows: Sequence[Bar], scale: Scale, *, title: str, description: str, words: Words) -> str:
    """Draw horizontal bars with their value written at the end."""
    height = 30
    parts = []
    for i, row in enumerate(rows):
        y = i * height + height / 2
        parts.append(_row_label(row.label, y, strong=row.strong))
        if row.value is None:
            parts.append(label(row.shown, class_="value muted", x=4, y=y, dy="0.35em"))
            continue
        end = scale.position(row.value)
        bar_text = row.label + words.COLON + row.shown
        tip = element("title", text(bar_text))
        kind = f"bar {row.model or ('total' if row.strong else 'stage')}{' open' if row.open_end else ''}"
        thick = 4 if row.model else 13
        parts.append(element("rect", tip, class_=kind, x=0, y=y - thick / 2, width=f"{end:.3f}%", height=thick))
        if row.interval:
            low, high = (scale.position(v) for v in row.interval)
            parts.append(
                element("rect", class_="band", x=f"{low:.3f}%", y=y - 8, width=f"{high - low:.3f}%", height=16, rx=2)
            )
        if row.open_end:
            parts.append(at(end, y, element("path", class_=f"arrow {row.model}", d="M0-6 9 0 0 6Z")))
        elif row.model:
            parts.append(mark(row.model, end, y, bar_text))
        parts.append(at(end, y, label(row.shown, class_="value", x=14, dy="0.35em")))
    return picture(title, description, len(rows) * height, "".join(parts), style="bars")


def curves(
    lines: Sequence[Curve],
    x: Scale,
    y: Scale,
    *,
    title: str,
    description: str,
    write_x: Write,
    write_y: Write,
    x_name: str,
    words: Words,
    dividers: Sequence[float] = (),
    diagonal: bool = False,
    height: int = 190,
) -> str:
    """Draw lines over a grid, with dashed verticals at `dividers` and a dashed `diagonal` from low to high."""
    parts = [axes(x, y, write_x, write_y, x_name, height)]
    for place in dividers:
        at_x = f"{x.position(place):.3f}%"
        parts.append(element("line", class_="divider", x1=at_x, x2=at_x, y1=0, y2=height))
    if diagonal:
        parts.append(element("line", class_="divider", x1="0%", x2="100%", y1=height, y2=0))
    parts += [trace(line.model, line.points, x, y, height) for line in lines]
    for line in lines:
        for a, b in line.points:
            tip = words.AT.format(line.name, x_name, write_x(a), write_y(b))
            parts.append(hit(tip, x.position(a), down(b, y, height)))
        a, b = line.points[-1]
        end = words.AT_END.format(line.name, write_y(b))
        parts.append(mark(line.model, x.position(a), down(b, y, height), end))
    return picture(title, description, height + 40, "".join(parts), style="curves")


def axes(x: Scale, y: Scale, write_x: Write, write_y: Write, x_name: str, height: float) -> str:
    """Draw the grid, the ticks and the name of the x axis, `height` pixels high and as wide as the page."""
    parts = [_grid(x, height)]
    for tick in y.ticks():
        at_y = down(tick, y, height)
        parts.append(element("line", class_="grid", x1="0%", x2="100%", y1=at_y, y2=at_y))
        parts.append(label(write_y(tick), class_="tick", x=-8, y=at_y, dy="0.35em", text_anchor="end"))
    for tick in x.ticks():
        parts.append(at(x.position(tick), height, label(write_x(tick), class_="tick", y=17, text_anchor="middle")))
    parts.append(label(x_name, class_="tick", x="100%", y=height + 34, text_anchor="end"))
    return "".join(parts)


def trace(model: str, points: Sequence[tuple[float, float]], x: Scale, y: Scale, height: float) -> str:
    """Draw a line through (x, y) points in the style of a model."""
    drawn = " ".join(f"{x.position(a):.3f},{down(b, y, height):.3f}" for a, b in points)
    return element(
        "svg",
        element("polyline", class_=f"curve {model}", points=drawn),
        width="100%",
        height=height,
        viewBox=f"0 0 100 {height:g}",
        preserveAspectRatio="none",
        overflow="visible",
    )


def down(value: float, y: Scale, height: float) -> float:
    """Return the distance of a value from the top, in pixels."""
    return height * (1 - y.position(value) / 100)


def hit(tip: str, at_x: float, at_y: float) -> str:
    """Draw an invisible area, at percent and pixels, that shows a text when it is pointed at."""
    return element("circle", element("title", text(tip)), class_="hit", cx=f"{at_x:.3f}%", cy=at_y, r=4)


_ORDER = ("original", "unlearned", "retrained")


def _column(model: str) -> int:
    return 18 + COLUMN * (_ORDER.index(model) + 1)


def _columns(content: str) -> str:
    return element("g", at(100, 0, content), class_="columns")


def _grid(scale: Scale, height: float) -> str:
    places = [f"{scale.position(v):.3f}%" for v in scale.ticks()]
    return "".join(element("line", class_="grid", x1=p, x2=p, y1=0, y2=height) for p in places)


def _row_label(name: str, y: float, *, strong: bool = False, sign: str = "", tip: str = "") -> str:
    shown = f"{sign} " if sign else ""
    shown += shorten(name, LABEL - len(shown))
    kind = "label strong" if strong else "label"
    return label(shown, tip=tip or name, class_=kind, x=-14, y=y, dy="0.35em", text_anchor="end")


def _dot_row(row: Dots, top: float, height: float, shared: Scale | None, shared_write: Write, words: Words) -> str:
    y, write, scale = top + height / 2, row.write or shared_write, row.scale or shared
    if scale is None:
        raise ValueError(
            f"Expected a scale for the row {row.label!r}, but neither it nor the picture has one; give one of "
            "them a scale."
        )
    behind = element("rect", class_="flag", x=0, y=top + 1, width="100%", height=height - 2) if row.flag else ""
    if row.band:
        low, high = (
            edge if end is None else scale.position(end) for end, edge in zip(row.band, (0.0, 100.0), strict=True)
        )
        ends = ["−∞" if row.band[0] is None else write(row.band[0]), "∞" if row.band[1] is None else write(row.band[1])]
        tip = element("title", text(words.RANGE.format(row.label, *ends)))
        width = f"{high - low:.3f}%"
        behind += element("rect", tip, class_="range", x=f"{low:.3f}%", y=top + 5, width=width, height=height - 10)
    numbers = ""
    for model, values in row.values.items():
        more = "> " if any(row.beyond.get(model, ())) else ""
        shown = more + write(sum(values) / len(values)) if values else words.UNKNOWN
        numbers += label(shown, class_=f"value {model}", x=_column(model), y=y, dy="0.35em", text_anchor="end")
    sign, tip = ("✕", row.label + words.COMMA + row.flag) if row.flag else (row.sign, row.tip)
    name = _row_label(row.label, y, strong=bool(row.flag), sign=sign, tip=tip)
    return behind + name + _marks(row.values, y, scale, write, row.label, words, row.beyond) + _columns(numbers)


def _marks(
    values: Mapping[str, Sequence[float]],
    y: float,
    scale: Scale,
    write: Write,
    name: str,
    words: Words,
    beyond: Mapping[str, Sequence[bool]] = MappingProxyType({}),
) -> str:
    drawn = element("line", class_="track", x1="0%", x2="100%", y1=y, y2=y)
    before, after = values.get("original", ()), values.get("unlearned", ())
    if before and after:
        ends = [f"{scale.position(v[0]):.3f}%" for v in (before, after)]
        drawn += element("line", class_="moved", x1=ends[0], x2=ends[1], y1=y, y2=y)
    for model in ("original", "retrained", "unlearned"):
        found = values.get(model, ())
        for i, value in enumerate(found):
            head = words.HEADS[model]
            who = words.NUMBERED.format(head, i + 1) if len(found) > 1 else head
            more = "> " if any(beyond.get(model, ())[i : i + 1]) else ""
            tip = (name + words.COMMA if name else "") + who + words.COLON + more + write(value)
            drawn += mark(model, scale.position(value), y, tip)
    return drawn
