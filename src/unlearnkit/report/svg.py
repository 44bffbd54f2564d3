"""Writes SVG: scales, elements with escaped text, and three marks. Positions along x are percentages of the width.

Plots have no viewBox: they take the width of the page and keep the size of their text at any width. What lies beside
the plot (labels, columns of numbers) is drawn outside its box, in the padding that the style sheet gives it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from unlearnkit.report.text import clean

MARKS = {  # concentric when values coincide: each stays visible inside the other
    "original": '<circle class="mark original" r="6.5"/>',
    "retrained": '<path class="mark retrained" d="M0-5.2 5.2 0 0 5.2-5.2 0Z"/>',
    "unlearned": '<circle class="mark unlearned" r="2.9"/>',
}

POINTS = {  # as in the drawings of samples, whose colours these are
    "forgotten": '<path d="M-4-4 4 4M-4 4 4-4" fill="none" stroke="#9654d6" stroke-width="1.8"/>',
    "retained": '<circle r="4" fill="none" stroke="#7c848e" stroke-width="1.8"/>',
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps values from `low` to `high` to 0 to 100 %, linear or logarithmic; values outside are drawn at the edge.

    With `zero`, the left edge of a logarithmic scale stands for 0, and says so.
    """

    low: float
    high: float
    log: bool = False
    zero: bool = False

    def position(self, value: float) -> float:
        """Return the position of a value in percent; on a logarithmic scale, 0 and less are at the left edge."""
        if self.log:
            if value <= 0:
                return 0.0
            share = (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return 100 * min(1.0, max(0.0, share))

    def ticks(self) -> list[float]:
        """Return round numbers inside the scale: in 1-2-5 steps, or decades on a long logarithmic scale."""
        if not self.log:
            return _linear_ticks(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        factors = (1, 2, 5) if last - first <= 2 else (1,)
        every = max(1, math.ceil((last - first) / 6))
        values = [f * 10.0**e for e in range(first, last + 1, every) for f in factors]
        shown = [v for v in values if self.low * 0.999 <= v <= self.high * 1.001]
        return [0.0, *(v for v in shown if v > self.low * 1.001)] if self.zero else shown


def log_scale(values: Iterable[float]) -> Scale:
    """Return a logarithmic scale of whole decades around the positive values."""
    positive = [v for v in values if v > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return Scale(low=10.0**low, high=10.0 ** max(high, low + 1), log=True)


def linear_scale(values: Iterable[float], *, from_zero: bool = False) -> Scale:
    """Return a linear scale between round numbers around the values."""
    found = [*values, *([0.0] if from_zero else [])] or [0.0]
    low, high = min(found), max(found)
    if high == low:
        low, high = low - (0 if from_zero else 0.5), high + 0.5
    step = _step(low, high)
    return Scale(low=math.floor(low / step + 1e-9) * step, high=math.ceil(high / step - 1e-9) * step)


def element(tag: str, content: str = "", **attributes: str | float) -> str:
    """Write one element: attribute values are escaped, `content` is markup; `text_anchor` becomes text-anchor."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(_number(value))}"' for name, value in attributes.items()
    )
    return f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>"


@lru_cache(maxsize=4096)  # most of a page's attributes stand in it many times
def text(value: str) -> str:
    """Escape text for markup and for attributes."""
    return html.escape(clean(value), quote=True)


def label(content: str, *, tip: str = "", **attributes: str | float) -> str:
    """Return a text element; `tip` is shown when the pointer rests on it."""
    return element("text", (element("title", text(tip)) if tip else "") + text(content), **attributes)


def mark(model: str, x: float, y: float, tip: str) -> str:
    """Draw the mark of a model at x percent and y pixels."""
    return at(x, y, element("g", element("title", text(tip)) + MARKS[model], class_="point"))


def point(kind: str) -> str:
    """Draw the mark of a group of samples, `forgotten` or `retained`, for a line of text."""
    inner = element("g", POINTS[kind], transform="translate(8 8)")
    return element("svg", inner, class_="swatch", width=16, height=16, aria_hidden="true")


def at(x: float, y: float, content: str) -> str:
    """Move content to x percent and y pixels."""
    return element("svg", content, x=f"{x:.3f}%", y=y, overflow="visible")


def picture(title: str, description: str, height: float, content: str, *, style: str = "rows") -> str:
    """Return the whole picture, with a name and a description for screen readers."""
    head = element("title", text(title)) + element("desc", text(description))
    return element("svg", head + content, class_=f"plot {style}", role="img", width="100%", height=height)


def swatch(model: str) -> str:
    """Draw a model's mark in a line of text; it is hidden from screen readers, as its name is next to it."""
    inner = element("g", MARKS[model], transform="translate(8 8)")
    return element("svg", inner, class_="swatch", width=16, height=16, aria_hidden="true")


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3f}".rstrip("0").rstrip(".")


def _step(low: float, high: float) -> float:
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * 0.999)


def _linear_ticks(low: float, high: float) -> list[float]:
    step = _step(low, high)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
