"""The bands of the readings that vote: each on its own scale, and what could not be established is said."""

from __future__ import annotations

import html
import re
from dataclasses import asdict

import pytest

from report_folders import JUDGED, NO_POWER, VOTES, Make, judged_audit, reading
from report_pages import Reader, first_screen, of_class, svgs
from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.metric import Vote
from unlearnkit.audit.metrics.registry import METRICS, PRIMARY
from unlearnkit.report import render
from unlearnkit.report.words import ENGLISH as EN

TIME = Vote(metric="relearn_steps", family="relearn", scale="time", delta=0.25)  # as in 0.2.0


def test_the_bands_are_drawn_each_on_its_own_scale(make: Make) -> None:
    page = render(make(audit=judged_audit()))
    drawn = next(svg for svg in svgs(page) if svg[0].text == "Where the model stands")
    told = {text[0].text: text[0].tail for text in of_class(drawn, "label")}
    assert told["Accuracy, forgotten classes, test: outside, 1,250% of the way to the end of the band"] == "✕ forgotten"
    assert told["Membership of the class: not established"] == "? class member"
    assert len(told) == len(JUDGED)
    ranges = {r[0].text: (r.get("x"), r.get("width")) for r in of_class(drawn, "range")}
    assert set(ranges) == {
        "retained: 94.0% to 100.0%",
        "forgotten: 0.0% to 1.0%",
        "outputs: 0 to 0.500",
        "relearning: 50.0 to 200",
        "at any depth: −∞ to 1.50",
    }
    room = 0.06 * 0.9  # values from 0 to 0.9, and a little room on both sides
    low, width = (float((text or "").removesuffix("%")) for text in ranges["forgotten: 0.0% to 1.0%"])
    assert (low, width) == pytest.approx((100 * room / (0.9 + 2 * room), 100 * 0.01 / (0.9 + 2 * room)), abs=1e-3)
    marks = [p[0].text for p in of_class(drawn, "point")]
    assert "forgotten, after: 40.0%" in marks
    text = html.unescape(Reader(page).text)
    assert "4 inside the band, 1 outside and 2 not established." in text
    assert "Farthest from the retrained models: Accuracy, forgotten classes, test, 1,250% of the way" in text
    assert re.search(r"0.0–1.0%</td><td class=\"n\">12.5</td><td class=\"n\">outside</td>", page)
    assert "≤ 1.50" in text


def test_what_the_audit_cost_is_told_by_part_the_dearest_first(make: Make) -> None:
    page = render(make(audit=judged_audit()))
    table = page[page.index('aria-label="What the audit cost"') :]
    rows = re.findall(r'<th scope="row">(.*?)</th><td class="n">(.*?)</td><td class="n">(.*?)</td>', table)[:4]
    assert rows == [
        ("training on retained data alone", "2 min 10 s", "6,543"),
        ("running the models on the images", "2.50 s", "4,321"),
        ("all other readings", "0.25 s", "0"),
        ("total", "2 min 13 s", "10,864"),
    ]
    assert "What the audit cost" not in render(make())  # an audit of 0.2.0 does not say


def test_a_time_that_was_cut_off_is_shown_as_more_than_that(make: Make) -> None:
    audit = judged_audit()
    (time,) = (r for r in audit["readings"] if (r["metric"], r["replicate"]) == ("relearn_steps", 1))
    time |= {"value": 128.0, "doubts": [asdict(Doubt("censored", {"steps": 128}))]}
    drawn = next(svg for svg in svgs(render(make(audit=audit))) if svg[0].text == "Where the model stands")
    columns = [[t.text for t in row.iter() if "retrained" in (t.get("class") or "").split() and t.text]
               for row in of_class(drawn, "columns")]  # fmt: skip
    shown = [text for row in columns for text in row]
    assert [text for text in shown if text.startswith("> ")] == ["> 64.2"]  # the mean of 0.3 and more than 128
    marks = [p[0].text for p in of_class(drawn, "point")]
    assert [text for text in marks if text and "> " in text] == ["relearning, retrained 2: > 128"]


def test_the_first_screen_says_what_could_not_be_established(make: Make) -> None:
    start = first_screen(render(make(audit=judged_audit())))
    assert "Evidence E3: training samples" in start
    assert "What could not be established" in start
    assert "Membership of the class: the original is too near to the retrained models" in start
    assert "Recovery by a linear probe, forgotten classes, test: no features were taken" in start
    unmeasured = "Difference of predictions to retrained, forgotten classes, test; Membership of samples, by loss"
    assert unmeasured in start
    assert "it was not measured in this audit" in start
    assert "What could not be established" not in first_screen(render(make(audit=None)))


def test_one_reason_for_all_is_said_once_and_none_is_said_too(make: Make) -> None:
    audit = judged_audit()
    audit["readings"] = [
        reading(
            p.metric,
            "unlearned",
            0.5,
            part=p.part,
            verdict="unknown",
            doubts=[asdict(Doubt("unresolved", {"reason": NO_POWER}))],
        )
        for p in (*PRIMARY, TIME)
    ]
    page = first_screen(render(make(audit=audit)))
    assert f"All {len(VOTES)} readings that are voted on: the original is too near" in page
    for each in audit["readings"]:
        each |= {"verdict": "pass", "band": [0.0, 1.0], "gap": 0.0, "doubts": []}
    page = first_screen(render(make(audit=audit)))
    assert "What could not be established" not in page
    assert "Every reading that is voted on was resolved." in page


def test_the_report_knows_the_primary_readings() -> None:
    of_any_request = [vote.key for metric in METRICS.values() for vote in metric.votes]
    assert set(EN.PRIMARY) == {*VOTES, *of_any_request}
    assert list(EN.PRIMARY)[: len(VOTES)] == VOTES
    assert all(len(name) <= 13 for name in EN.PRIMARY.values())


def test_a_reading_that_votes_without_a_short_name_is_called_by_its_title(make: Make) -> None:
    judged = judged_audit() | {"votes": [*VOTES, "zrf/forget_test", "new_reading"]}
    for metric, part in (("zrf", "forget_test"), ("new_reading", None)):
        judged["readings"].append(
            reading(metric, "unlearned", 0.5, part=part, verdict="pass", band=[0.4, 0.6], gap=0.1)
        )
    text = html.unescape(Reader(render(make(audit=judged))).text)
    assert "6 inside the band" in text
    drawn = next(svg for svg in svgs(render(make(audit=judged))) if svg[0].text == "Where the model stands")
    tails = [label[0].tail for label in of_class(drawn, "label")]
    assert tails[-2:] == ["✓ Likeness to …", "✓ New reading"]
