"""The picture of gap against cost: its front, its names and its edges."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree

import pytest

from unlearnkit.compare.trade_off import Point, front, trade_off


def test_the_front_is_what_no_contender_beats_in_both() -> None:
    draw = random.Random(0)
    for _ in range(50):
        points = [
            Point(name=str(i), x=draw.randint(1, 6), y=draw.randint(1, 6), contender=draw.random() < 0.8)
            for i in range(8)
        ]
        contenders = [p for p in points if p.contender]
        best = {
            (p.x, p.y)
            for p in contenders
            if not any(q.x <= p.x and q.y <= p.y and (q.x, q.y) != (p.x, p.y) for q in contenders)
        }
        found = front(points)
        assert {(p.x, p.y) for p in found} == best
        assert [p.x for p in found] == sorted(p.x for p in found)


def drawn(points: list[Point], title: str = "a < b") -> ElementTree.Element:
    return ElementTree.fromstring(
        trade_off(
            points,
            title=title,
            description="&",
            x_name="x",
            y_name="y",
            shapes={"filled": "one", "cross": "two"},
            x_limit=(1.0, "whole"),
            y_limit=(1.0, "end"),
        )
    )


def test_the_picture_is_well_formed_whatever_a_name_says() -> None:
    names = ['<script>"&', "\x00", "名前", "plain"]
    root = drawn([Point(name=name, x=2.0**-i, y=2.0**i) for i, name in enumerate(names)])
    texts = [each.text for each in root.iter() if each.tag.endswith("}text")]
    assert [name for name in ('<script>"&', "�", "名前", "plain") if name not in texts] == []
    assert texts.count("plain") == 1
    assert not [each for each in root.iter() if each.tag.endswith("script")]


@pytest.mark.parametrize("cheapest", [0.0201, 0.0235, 0.025, 0.05, 0.1])
def test_the_name_of_the_left_edge_stands_apart_from_the_ticks(cheapest: float) -> None:
    points = [Point(name="free", x=0.0, y=8.0, contender=False), Point(name="a", x=cheapest, y=2.0)]
    labels = [
        each for each in drawn(points).iter() if each.tag.endswith("}text") and each.get("text-anchor") == "middle"
    ]
    places = sorted(float(each.get("x", "nan")) for each in labels if each.get("y") == labels[0].get("y"))
    (edge,) = [float(each.get("x", "nan")) for each in labels if each.text == "≈ 0"]
    assert places[0] == edge
    assert places[1] - edge > 35


@pytest.mark.parametrize("height", [1.15, 1.0, 0.9])
def test_the_name_of_the_limit_keeps_apart_from_marks_and_their_names(height: float) -> None:
    """A mark at the left edge has its name where the limit's would be."""
    points = [Point(name="free", x=0.0, y=height, contender=False), Point(name="a", x=0.5, y=5.0)]
    texts = {each.text: each for each in drawn(points).iter() if each.tag.endswith("}text")}
    (left, base), (across, down) = (
        [float(texts[name].get(key, "nan")) for key in ("x", "y")] for name in ("end", "free")
    )
    assert abs(down - base) >= 14 or abs(across - left) >= 6.4 * len("free")


def test_cheaper_is_left_nearer_is_lower_and_labels_keep_apart() -> None:
    points = [Point(name=f"method-{i}", x=0.5 + 0.01 * i, y=3 + 0.02 * i) for i in range(12)]
    points.append(Point(name="free", x=0.0, y=8.0, shape="cross", contender=False))
    root = drawn(points)
    places = {}
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        across, down = group.get("transform", "").removeprefix("translate(").rstrip(")").split()
        tip = next((each.text or "" for each in group if each.tag.endswith("title")), "")
        if tip:
            places[tip.partition(":")[0]] = float(across), float(down)
    assert places["method-0"][0] < places["method-11"][0]
    assert places["method-0"][1] > places["method-11"][1]
    assert places["free"][0] < places["method-0"][0]
    assert places["free"][1] < places["method-11"][1]
    labels = [each for each in root.iter("{http://www.w3.org/2000/svg}text") if (each.text or "").startswith("method")]
    corners = [(float(each.get("x", 0)), float(each.get("y", 0))) for each in labels]
    assert len(corners) == 12
    for i, (a, b) in enumerate(corners):
        for c, d in corners[i + 1 :]:
            assert abs(b - d) > 10 or abs(a - c) > 45, (a, b, c, d)


@pytest.mark.parametrize("letters", [1, 60, 100, 164, 165, 900])
def test_a_title_ends_within_the_picture(letters: int) -> None:
    """Letters of .6 of their height, as wide as bold ones are in the widest of the fonts."""
    title = "m" * letters
    root = drawn([Point(name="a", x=0.1, y=2.0), Point(name="b", x=0.2, y=3.0)], title)
    (shown,) = [each for each in root.iter() if each.get("class") == "title"]
    size = float(str(shown.get("style")).removeprefix("font-size:").removesuffix("px"))
    assert 8 <= size <= 15
    assert float(str(shown.get("x"))) + 0.6 * size * len(str(shown.text)) <= 880
    assert (shown.text == title) == (letters <= 164)
    assert next(each.text for each in root if each.tag.endswith("}title")) == title
