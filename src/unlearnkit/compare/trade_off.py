"""Draws methods by cost and by distance from retraining, with the Pareto front, as an SVG file.

Unlike the page's pictures it has a size and colours of its own, light or dark as the reader's screen, so that it can be
shown by an <img> anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, floor, log10

from unlearnkit.report.svg import Scale, element, label, text
from unlearnkit.report.text import number

WIDTH, HEIGHT = 880, 560
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 74, 56  # around the plot
CELL, LINE = 6.4, 14  # pixels of a character and of a line of text, about
TITLE, SMALLEST, BOLD = 15, 8, 0.6  # pixels of the title's letters, at most and at least, and their width of that
LEAST = 1e-3  # less than this is drawn at the edge: a logarithmic scale has no place for 0
ROOM = 1.3  # between the outermost value and the edge, as a factor

SHAPES = {
    "filled": '<circle class="filled" r="5"/>',
    "hollow": '<path class="hollow" d="M0-6 5.6 4.4-5.6 4.4Z"/>',
    "cross": '<path class="cross" d="M-4-4 4 4M-4 4 4-4"/>',
}
STYLE = """
svg{--paper:#fff;--ink:#1a1d21;--soft:#535a63;--grid:#e6e7e3;--near:#0072b2;--far:#c24e00;color-scheme:light dark}
@media(prefers-color-scheme:dark){svg{--paper:#1b1f24;--ink:#e9eaec;--soft:#a9b0ba;--grid:#2b3138;--near:#56b4e9;--far:#f0a640}}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif;fill:var(--ink);
stroke:var(--paper);stroke-width:3;paint-order:stroke;stroke-linejoin:round}
.paper{fill:var(--paper)}.grid{stroke:var(--grid)}.soft{fill:var(--soft)}.title{font-weight:600}
.limit{stroke:var(--soft);stroke-dasharray:5 4}.front{fill:none;stroke:var(--near);stroke-width:1.5;opacity:.55}
.range{stroke:var(--soft);stroke-width:1.5;opacity:.6}.lead{stroke:var(--soft);stroke-width:.7}
.filled{fill:var(--near);stroke:var(--paper)}.hollow{fill:var(--paper);stroke:var(--far);stroke-width:1.8}
.cross{fill:none;stroke:var(--soft);stroke-width:2}
"""
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, kw_only=True)
class Point:
    """One method in the picture, by its cost and its distance from retraining.

    Args:
        name: its label.
        x, y: where it lies; less of both is better.
        shape: one of `SHAPES`.
        span: lowest and highest y, of several runs.
        contender: whether it may be on the front; what is not, and cheaper than all that are, is drawn at the edge.
    """

    name: str
    x: float
    y: float
    shape: str = "filled"
    span: tuple[float, float] | None = None
    contender: bool = True


def front(points: Sequence[Point]) -> list[Point]:
    """Return the Pareto front, cheapest first: no other contender is at least as good in both and better in one."""
    found: list[Point] = []
    for point in sorted((p for p in points if p.contender), key=lambda p: (p.x, p.y)):
        if not found or point.y < found[-1].y:
            found.append(point)
    return found


def trade_off(
    points: Sequence[Point],
    *,
    title: str,
    description: str,
    x_name: str,
    y_name: str,
    shapes: Mapping[str, str],
    x_limit: tuple[float, str],
    y_limit: tuple[float, str],
) -> str:
    """Draw the whole file: marks with labels on two logarithmic scales, the front, and a dashed limit on each axis.

    Args:
        points: the methods.
        title, description: what it is.
        x_name, y_name: the axes.
        shapes: what each shape that is used means.
        x_limit, y_limit: a value of special meaning, and its name.
    """
    x = _scale([p.x for p in points if p.contender], x_limit[0])
    at_the_edge = any(p.x < x.low for p in points)
    if at_the_edge:
        x = replace(x, low=x.low / ROOM)  # a tick next to the edge would cover its name
    y = _scale([bound for p in points for bound in (p.y, *(p.span or ()))], y_limit[0])
    parts = [element("rect", class_="paper", width=WIDTH, height=HEIGHT, rx=6), _axes(x, y, x_name, y_name)]
    taken = [_around(_across(x, p.x), _down(y, p.y)) for p in points]
    parts += [_limits(x, y, x_limit, y_limit, taken), _front(front(points), x, y)]
    if at_the_edge:
        parts.append(label("≈ 0", class_="soft", x=LEFT, y=HEIGHT - BOTTOM + 18, text_anchor="middle"))
    for point in points:
        if point.span:
            ends = [_down(y, value) for value in point.span]
            at = _across(x, point.x)
            parts.append(element("line", class_="range", x1=at, x2=at, y1=ends[0], y2=ends[1]))
    for point in points:
        translation = f"translate({_across(x, point.x):.1f} {_down(y, point.y):.1f})"
        tip = element("title", text(f"{point.name}: {x_name} {number(point.x)}, {y_name} {number(point.y)}"))
        parts.append(element("g", tip + SHAPES[point.shape], transform=translation))
    for point in sorted(points, key=lambda p: (p.y, p.x)):
        parts.append(_label(point, _across(x, point.x), _down(y, point.y), taken))
    parts += [_heading(title), _key(shapes)]
    head = element("title", text(title)) + element("desc", text(description)) + element("style", STYLE)
    return element(
        "svg",
        head + "".join(parts),
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        width=WIDTH,
        height=HEIGHT,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )


def _heading(title: str) -> str:
    """Draw the title in letters that let it fit; what is too long for the smallest is cut, and said in full aside."""
    room = (WIDTH - LEFT - RIGHT) / BOLD
    size = max(SMALLEST, min(TITLE, room / max(1, len(title))))
    most = int(room / size)
    shown = title if len(title) <= most else title[: most - 1] + "…"
    return label(shown, class_="title", x=LEFT, y=26, style=f"font-size:{size:.3g}px")


def _scale(values: Sequence[float], limit: float) -> Scale:
    """Return a logarithmic scale around the limit and the values of at least `LEAST`."""
    shown = [limit, *(value for value in values if value >= LEAST)]
    return Scale(low=min(shown) / ROOM, high=max(shown) * ROOM, log=True)


def _ticks(scale: Scale) -> list[float]:
    """Return ticks at 1, 2 and 5 of every decade, or at decades alone where these would be too many."""
    exponents = range(floor(log10(scale.low)), ceil(log10(scale.high)) + 1)
    values = [f * 10.0**e for e in exponents for f in (1, 2, 5) if scale.low <= f * 10.0**e <= scale.high]
    return values if len(values) < 10 else scale.ticks()


def _across(scale: Scale, value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * scale.position(value) / 100


def _down(scale: Scale, value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * scale.position(value) / 100


def _axes(x: Scale, y: Scale, x_name: str, y_name: str) -> str:
    low, high = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in _ticks(x):
        at = _across(x, value)
        parts.append(element("line", class_="grid", x1=at, x2=at, y1=TOP, y2=low))
        parts.append(label(f"{value:g}", class_="soft", x=at, y=low + 18, text_anchor="middle"))
    for value in _ticks(y):
        at = _down(y, value)
        parts.append(element("line", class_="grid", x1=LEFT, x2=high, y1=at, y2=at))
        parts.append(label(f"{value:g}", class_="soft", x=LEFT - 8, y=at + 4, text_anchor="end"))
    parts.append(label(x_name, class_="soft", x=high, y=low + 40, text_anchor="end"))
    middle = (TOP + low) / 2
    parts.append(
        label(y_name, class_="soft", x=16, y=middle, text_anchor="middle", transform=f"rotate(-90 16 {middle:.1f})")
    )
    return "".join(parts)


def _limits(x: Scale, y: Scale, x_limit: tuple[float, str], y_limit: tuple[float, str], taken: list[Box]) -> str:
    """Draw both dashed lines and their names; the level one's is placed above or below it, where most room is."""
    across, down = _across(x, x_limit[0]), _down(y, y_limit[0])
    low, high = HEIGHT - BOTTOM, WIDTH - RIGHT
    taken.append((across - 5 - CELL * len(x_limit[1]), TOP + 12 - LINE + 3, across - 5, TOP + 15))
    wide = CELL * len(y_limit[1])
    places = [
        (left, top, left + wide, top + LINE) for left in (LEFT + 6, high - 6 - wide) for top in (down - 17, down + 5)
    ]
    place = min(places, key=lambda box: sum(_overlap(box, other) for other in taken))
    taken.append(place)
    return "".join(
        [
            element("line", class_="limit", x1=across, x2=across, y1=TOP, y2=low),
            element("line", class_="limit", x1=LEFT, x2=high, y1=down, y2=down),
            label(x_limit[1], class_="soft", x=across - 5, y=TOP + 12, text_anchor="end"),
            label(y_limit[1], class_="soft", x=place[0], y=place[3] - 3),
        ]
    )


def _front(points: Sequence[Point], x: Scale, y: Scale) -> str:
    """Draw the front as a staircase: no method lies to the left of and below it."""
    if not points:
        return ""
    places = [(_across(x, p.x), _down(y, p.y)) for p in points]
    steps = [(places[0][0], float(TOP))]
    for across, down in places:
        steps += [(across, steps[-1][1]), (across, down)]
    steps.append((float(WIDTH - RIGHT), steps[-1][1]))
    return element("polyline", class_="front", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in steps))


def _key(shapes: Mapping[str, str]) -> str:
    parts, at = [], float(LEFT)
    for shape, meaning in shapes.items():
        parts.append(element("g", SHAPES[shape], transform=f"translate({at + 6:.1f} 48)"))
        parts.append(label(meaning, class_="soft", x=at + 18, y=52))
        at += 18 + CELL * len(meaning) + 20
    return "".join(parts)


def _label(point: Point, across: float, down: float, taken: list[Box]) -> str:
    """Write the name where most room is around its mark, with a line to the mark if that is far."""
    wide = CELL * len(point.name)
    best, least = None, float("inf")
    for (dx, dy), far in product(
        ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)), (0, 14, 30, 48)
    ):
        left = across + dx * (9 + far) - wide * (1 - dx) / 2
        middle = down + dy * (13 + far)
        box = (left, middle - LINE / 2, left + wide, middle + LINE / 2)
        outside = box[0] < LEFT or box[2] > WIDTH - RIGHT + 12 or box[1] < TOP or box[3] > HEIGHT - BOTTOM
        cost = 4 * sum(_overlap(box, other) for other in taken) + 2 * far + 5 * (dx < 0) + 1000 * outside
        if cost < least:
            best, least, distance = box, cost, far
    assert best is not None
    taken.append(best)
    lead = ""
    if distance:
        near = (min(max(across, best[0]), best[2]), min(max(down, best[1]), best[3]))
        lead = element("line", class_="lead", x1=across, y1=down, x2=near[0], y2=near[1])
    return lead + label(point.name, x=best[0], y=best[3] - 3)


def _around(across: float, down: float) -> Box:
    return across - 7, down - 7, across + 7, down + 7


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
