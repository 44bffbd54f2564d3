"""Figures of the report: positions by hand calculation, CSV that is no formula, and figures as text."""

from __future__ import annotations

import csv
import html
import io
from xml.etree import ElementTree

import pytest

from report_folders import HOSTILE, Make, audit_json
from report_pages import Reader, files, of_class, svgs
from unlearnkit.report import render
from unlearnkit.report.figures import Bar, Curve, Dots, bars, curves, dot_rows
from unlearnkit.report.svg import Scale, linear_scale, log_scale
from unlearnkit.report.table import Table
from unlearnkit.report.text import clean, isolated, percent, points, quantity, seconds, shorten, span
from unlearnkit.report.words import ENGLISH as EN


def test_series_become_pictures(make: Make) -> None:
    page = render(make(audit=audit_json(["cat", "dog", "emu", "fox"], retrained=2)))
    by_title = {svg[0].text: svg for svg in svgs(page)}
    probe = by_title["What a linear probe finds, by depth"]
    assert [t[0].tail for t in of_class(probe, "label")] == ["stem", "<body>", "head"]
    for title, x in (
        ("Relearning from a few samples", [0, 100 * 0.69897 / 1.30103, 100]),
        ("Can forgotten training samples be told from unseen ones?", [1, 50, 100]),
    ):
        lines = of_class(by_title[title], "curve")
        assert len(lines) == 4
        places = [float(point.split(",")[0]) for point in (lines[0].get("points") or "").split()]
        assert places == pytest.approx(x, abs=1e-3)
    square = by_title["Can forgotten training samples be told from unseen ones?"]
    assert [(e.get("x1"), e.get("x2"), e.get("y2")) for e in of_class(square, "divider")] == [("0%", "100%", "0")]
    assert (square[1].text or "").startswith("original: 5.0% at 1% (share of others called members); unlearned: 5.0%")
    text = html.unescape(Reader(page).text)
    assert "After forgetting 3.2%, retrained 1.2–2.2%." in text
    assert "Area under the curve: after forgetting 60.0%, retrained 60.0%" in text


def test_a_membership_curve_that_was_not_written_is_said_so(make: Make) -> None:
    audit = audit_json(["cat", "dog"])
    for r in audit["readings"]:
        if r["metric"] == "membership_tpr_loss":
            r["series"] = None
    assert "Not available: this audit wrote no curve" in render(make(audit=audit))


def test_every_figure_can_be_kept_as_csv(make: Make) -> None:
    page = render(make(audit=audit_json(["cat", "dog", "emu", "fox"], retrained=2)))
    found = files(page)
    figures = {a["id"] for tag, a in Reader(page).elements if tag == "figure"}
    assert {f"figure-{name.removesuffix('.csv')}" for name in found} == figures
    assert ["cat", "original", "1", "0.9876"] in found["accuracy.csv"]
    assert ["dog", "retrained", "2", "0.965"] in found["accuracy.csv"]
    assert found["relearn.csv"][:2] == [
        ["model", "replicate", "steps", "from", "to", "doubts"],
        ["original", "1", "29.0", "", "", ""],
    ]
    assert ["25 x 0.001", "unlearned", "1", "0.0321"] in found["return.csv"]
    assert ["noise", "3.0", "-0.7"] in found["training.csv"]  # a number stays a number
    assert ["total", "3.28"] in found["cost.csv"]


def test_hostile_names_are_text_in_csv(make: Make) -> None:
    names = [row[0] for row in files(render(make(HOSTILE)))["accuracy.csv"][1:]]
    assert set(names) == {"'" + name if name.startswith("=") else clean(name) for name in HOSTILE}


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "\uff1d1", "\n"])
def test_a_name_is_no_formula(name: str) -> None:
    table = Table(columns=("name", "value"), rows=[(name, -1.5), ('a=b, "c"\nd', None)])
    rows = list(csv.reader(io.StringIO(table.csv, newline="")))
    assert rows == [["name", "value"], ["'" + name, "-1.5"], ['a=b, "c"\nd', ""]]


def test_log_positions_against_a_hand_calculation() -> None:
    scale = Scale(low=0.01, high=100, log=True)
    assert [scale.position(v) for v in (0.01, 0.1, 1, 10, 100)] == pytest.approx([0, 25, 50, 75, 100])
    assert scale.position(2) == pytest.approx(100 * (0.30103 + 2) / 4, abs=1e-3)
    assert scale.position(0) == 0
    assert log_scale([0.0, 0.078, 2.6]) == Scale(low=0.01, high=10.0, log=True)
    assert log_scale([]).ticks() == [1, 2, 5, 10]


def test_linear_scales_are_round() -> None:
    assert linear_scale([3.4], from_zero=True) == Scale(low=0, high=4)
    assert Scale(low=0, high=1).ticks() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert linear_scale([5.0, 5.0]).position(5.0) == pytest.approx(50)
    assert linear_scale([0.0], from_zero=True).position(0) == 0


def test_bars_are_proportional_to_their_values() -> None:
    rows = [Bar(label=str(v), value=v, shown=f"{v} s") for v in (1.0, 2.0, 4.0)]
    rows.append(Bar(label="none", value=None, shown="unknown"))
    svg = ElementTree.fromstring(bars(rows, Scale(low=0, high=5), title="t", description="d", words=EN))
    widths = [float(e.get("width", "").removesuffix("%")) for e in of_class(svg, "bar")]
    assert widths == pytest.approx([20, 40, 80])
    assert "unknown" in "".join(svg.itertext())


def test_dots_and_curves_lie_where_their_values_are() -> None:
    row = Dots(label="cat", values={"original": [0.75], "unlearned": [0.25], "retrained": [0.5, 1.0]}, flag="forgotten")
    svg = ElementTree.fromstring(dot_rows([row], Scale(low=0, high=1), percent, title="t", description="d", words=EN))
    places = {p[0].text: parent.get("x") for parent in svg.iter("svg") for p in parent.findall("g[@class='point']")}
    assert {tip: float((x or "").removesuffix("%")) for tip, x in places.items()} == pytest.approx(
        {
            "cat, before: 75.0%": 75,
            "cat, after: 25.0%": 25,
            "cat, retrained 1: 50.0%": 50,
            "cat, retrained 2: 100.0%": 100,
        }
    )
    drawn = curves(
        [Curve(name="a", points=[(1, 0.0), (10, 0.5), (100, 1.0)])],
        Scale(low=1, high=100, log=True),
        Scale(low=0, high=1),
        title="t",
        description="d",
        write_x=str,
        write_y=str,
        x_name="step",
        words=EN,
        height=200,
    )
    line = of_class(ElementTree.fromstring(drawn), "curve")[0]
    assert line.get("points") == "0.000,200.000 50.000,100.000 100.000,0.000"


def test_a_logarithmic_axis_has_a_place_for_0_only_where_it_says_so() -> None:
    with_zero = Scale(low=0.5, high=128, log=True, zero=True)
    assert with_zero.ticks() == [0, 1, 10, 100]
    assert [with_zero.position(v) for v in (0, 1, 8, 128)] == pytest.approx([0, 12.5, 50, 100])
    assert Scale(low=1, high=128, log=True).ticks() == [1, 10, 100]


@pytest.mark.parametrize("first", [0, 1])
def test_relearning_from_step_0_is_drawn_left_of_step_1(make: Make, first: int) -> None:
    audit = audit_json(["cat", "dog"])
    for each in audit["readings"]:
        if each["metric"] == "relearn_steps":
            each["series"] = {str(step): 0.5 for step in range(first, 5)}
    (svg,) = [svg for svg in svgs(render(make(audit=audit))) if svg[0].text == EN.FIGURES["relearn_curves"][0]]
    points = (of_class(svg, "curve")[0].get("points") or "").split()
    places = [float(point.split(",")[0]) for point in points]
    assert places[0] == 0
    assert places == sorted(set(places))
    ticks = [each.text for each in of_class(svg, "tick")]
    assert ("0" in ticks) == (first == 0)
    assert "1" in ticks


def test_quantities() -> None:
    assert [percent(v) for v in (0, 0.0001, 0.5, 0.9999, 1, -0.0)] == [
        "0.0%",
        "<0.1%",
        "50.0%",
        ">99.9%",
        "100.0%",
        "0.0%",
    ]
    assert quantity(None, "fraction", EN) == "unknown"
    assert quantity(1.0, "steps", EN) == "1 step"
    assert quantity(-0.0, "nats", EN) == "0 nats"
    assert quantity(0.5, "bits", EN) == "0.500 bits"
    assert [seconds(v, EN) for v in (0.0099, 3.396, 59.94, 125, 7500)] == [
        "9.9 ms",
        "3.40 s",
        "59.9 s",
        "2 min 5 s",
        "2 h 5 min",
    ]
    assert span((0.0, 0.0964), "fraction", EN) == "0.0–9.6%"
    assert points(0.0001, EN) == "±0.0 points"
    assert [isolated(name) for name in ("cat", "été 2!", "\u202egpj", "شيء")] == [
        *("cat", "été 2!"),
        *("\u2068\u202egpj\u2069", "\u2068شيء\u2069"),
    ]
    assert isolated("\u2069\u202ea") == "\u2068\ufffd\u202ea\u2069"  # it cannot end its own isolation
    assert shorten("日本語日本語", 6) == "日本…"
    assert shorten("x" * 200, 10) == "x" * 9 + "…"
