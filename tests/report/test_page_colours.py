"""The page's colours: contrast by WCAG 2.2 in every scheme, and models that are told apart without colour."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from unlearnkit.report.svg import MARKS
from unlearnkit.report.words import LANGUAGES

CSS = resources.files("unlearnkit.report").joinpath("page.css").read_text(encoding="utf-8")
Colour = tuple[float, float, float]


def schemes() -> dict[str, dict[str, Colour]]:
    """Colours by name, as the three `:root` rules leave them: light, dark, and print, which begins with either."""
    light, dark, paper = (
        {name: rgb(value) for name, value in re.findall(r"--([\w-]+): (#\w+)", block)}
        for block in re.findall(r":root \{([^}]*)\}", CSS)
    )
    return {"light": light, "dark": light | dark, "paper": light | paper, "paper after dark": light | dark | paper}


def rgb(value: str) -> Colour:
    digits = value.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def linear(colour: Colour) -> Colour:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return red, green, blue


def contrast(a: Colour, b: Colour) -> float:
    """Relative luminances, WCAG 2.2, "contrast ratio": (L1 + 0.05) / (L2 + 0.05)."""
    low, high = sorted(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(x), strict=True)) for x in (a, b))
    return (high + 0.05) / (low + 0.05)


def over(front: Colour, back: Colour, opacity: float) -> Colour:
    red, green, blue = (opacity * f + (1 - opacity) * b for f, b in zip(front, back, strict=True))
    return red, green, blue


TEXT = [
    *[("ink", paper) for paper in ("paper", "sheet", "flag", "warn", "fail", "pass", "code")],
    *[("soft", paper) for paper in ("paper", "sheet", "flag", "warn", "fail", "pass")],
    ("after", "paper"),  # links
    ("after", "fail"),
]
SHAPES = [(mark, paper) for mark in ("before", "after", "retrained") for paper in ("sheet", "flag", "paper")]
SHAPES += [("warn-rule", "warn"), ("soft", "sheet"), ("retrained", "fail")]


def test_the_ratio_against_known_ones() -> None:
    assert contrast(rgb("#fff"), rgb("#000")) == pytest.approx(21)
    assert contrast(rgb("#777"), rgb("#fff")) == pytest.approx(4.478, abs=1e-3)  # the grey that just fails AA
    assert contrast(rgb("#0000ff"), rgb("#ffffff")) == pytest.approx(8.592, abs=1e-3)


@pytest.mark.parametrize("scheme", ["light", "dark", "paper", "paper after dark"])
def test_text_has_4_5_and_marks_have_3(scheme: str) -> None:
    colours = schemes()[scheme]
    for pairs, least in ((TEXT, 4.5), (SHAPES, 3.0)):
        for front, back in pairs:
            assert contrast(colours[front], colours[back]) >= least, (front, back)
    found = re.search(r"\.bar\.stage \{ fill: var\(--after\); opacity: ([\d.]+)", CSS)
    assert found is not None
    assert contrast(over(colours["after"], colours["sheet"], float(found[1])), colours["sheet"]) >= 3


# Protanopia, deuteranopia, tritanopia: linear RGB as such eyes see it. Machado, Oliveira, Fernandes, "A
# Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE TVCG 15(6), 2009, table 1, severity 1.0
EYES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def lab(colour: Colour) -> Colour:
    """CIELAB of linear RGB under D65."""
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116)
        for t in (
            max(0.0, sum(w * c for w, c in zip(row, colour, strict=True))) / n
            for row, n in zip(to_xyz, white, strict=True)
        )
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("scheme", ["light", "dark", "paper"])
def test_before_after_and_retrained_differ_to_every_eye(scheme: str, eyes: str) -> None:
    colours = schemes()[scheme]
    seen = [
        lab(tuple(sum(w * c for w, c in zip(row, linear(colours[name]), strict=True)) for row in EYES[eyes]))
        for name in ("before", "after", "retrained")
    ]
    for i, a in enumerate(seen):
        for b in seen[i + 1 :]:
            assert sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5 > 15


def test_nothing_is_said_by_colour_alone() -> None:
    shapes = {re.sub(r'class="[^"]*"', "", mark) for mark in MARKS.values()}
    assert len(shapes) == len(MARKS)
    filled = {model for model in MARKS if re.search(rf"\.mark\.{model} \{{ fill: none", CSS) is None}
    assert filled == {"unlearned"}
    lines = {model: re.search(rf"\.curve\.{model} \{{[^}}]*?(dasharray: [^;}}]*|\}})", CSS) for model in MARKS}
    assert len({found[1] for found in lines.values() if found}) == len(MARKS)
    for words in LANGUAGES.values():
        assert len({glyph for glyph, _ in words.VERDICTS.values()}) == len(words.VERDICTS)
