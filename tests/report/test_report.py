"""The report says what the run folder's JSON says, whatever the names in it, and loads nothing from elsewhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import re
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markupsafe import escape

from report_folders import DIGEST, HOSTILE, JUDGED, NO_POWER, VOTES, Make, artefacts, audit_json, judged_audit, reading
from report_pages import CSV, Reader, files, first_screen, of_class, svgs
from unlearnkit import report
from unlearnkit.audit.doubts import Doubt, no_samples
from unlearnkit.audit.metric import Vote
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.errors import OutputError
from unlearnkit.report import render
from unlearnkit.report.figures import Bar, Curve, Dots, bars, curves, dot_rows
from unlearnkit.report.svg import Scale, linear_scale, log_scale
from unlearnkit.report.table import Table
from unlearnkit.report.text import clean, isolated, percent, points, quantity, seconds, shorten, span
from unlearnkit.report.words import ENGLISH as EN

TIME = Vote(metric="relearn_steps", family="relearn", scale="time", delta=0.25)  # as in 0.2.0


def test_first_screen_says_what_the_json_says(make: Make) -> None:
    page = render(make())
    start = first_screen(page)
    for fact in (
        "Request to forget class “cat”",
        "id 0",
        "Forgotten earlier fox",
        "UNSIR",
        "preset paper",
        "small-cnn",
        "model.safetensors",
        "ab12cd34ef56…",
        "Verdict: unknown",
        "three retrained models are needed",
        "98.8% → 3.2%",
        "−95.5 points",
        "retrained 1.2%",
        "96.0% → 87.7%",
        "1.6–13.2%",
        "small sample: 36",
        "3.28 s",
        "12.5× cheaper",
        "0 read by the method",
        "183 read by the audit",
        "184 decoded",
    ):
        assert fact in start, fact
    assert f'title="{DIGEST}"' in page


def test_reads_by_the_method_are_counted_not_assumed(make: Make) -> None:
    access = artefacts(["a", "b", "c"])["access.json"] | {"forget_samples_read": 7}
    page = render(make(access=access))
    assert re.search(r"<strong>7</strong>\s*<span>read by the method", page)
    assert "never opened" not in page


def test_forgotten_data_that_nobody_read_is_said_so(make: Make) -> None:
    nobody = {"forget_samples_read": 0, "forget_samples_read_by_audit": 0, "forget_samples_decoded": 0}
    access = artefacts(["a", "b", "c"])["access.json"] | nobody
    page = first_screen(render(make(access=access, audit=None)))
    for said in ("never opened an image", "No audit has looked at them", "The loader handed out none of these images"):
        assert said in page


def test_an_expensive_run_is_not_called_cheap(make: Make) -> None:
    audit = audit_json(["cat", "dog"])
    for r in audit["readings"]:
        if r["metric"] == "cost_ratio":
            r["value"] = 0.25
    page = render(make(audit=audit))
    assert "4.00× as expensive" in page
    assert "forgetting cost more than retraining" in first_screen(page)
    assert "cheaper" not in first_screen(page)


def test_a_failed_search_is_said_on_the_first_screen(make: Make) -> None:
    config = artefacts(["a", "b"])["config.json"]
    assert "at every learning rate" not in render(make(config=config))
    failed = config | {"notes": {"search": {"accepted": False, "attempts": [{"accuracy": 0.5}]}}}
    page = render(make(config=failed))
    assert "at every learning rate" in first_screen(page)


def test_retained_classes_without_samples_are_named_on_the_first_screen(make: Make) -> None:
    config = artefacts(["a", "b"])["config.json"]
    page = render(make(config=config | {"notes": {"no_samples_of": ["bee", "<ant>"]}}))
    assert "had no training samples of these retained classes" in first_screen(page)
    assert "bee, <ant>" in first_screen(page)
    assert "had no training samples" not in render(make(config=config))


@pytest.mark.parametrize("classes", [["cat", "dog", "emu"], HOSTILE, [f"class {i}" for i in range(100)]])
def test_self_contained_and_well_formed(make: Make, classes: list[str]) -> None:
    page = render(make(classes))
    reader = Reader(page)
    assert reader.open == []
    tags = {tag for tag, _ in reader.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "image", "use", "foreignobject"}
    for tag, attributes in reader.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("href", "src", "xlink:href"):
            address = attributes.get(name) or "#"
            assert address.startswith("#") or (tag == "a" and "download" in attributes and address.startswith(CSV))
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert "url(" not in page
    page.encode("utf-8")
    ids = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"] or "" for tag, a in reader.elements if tag == "a" and "download" not in a}
    assert links <= {f"#{i}" for i in ids}
    pictures = [svg for svg in svgs(page) if svg.get("aria-hidden") != "true"]
    assert len(pictures) >= 15
    for svg in pictures:
        assert svg.get("role") == "img"
        assert (svg[0].tag, svg[1].tag) == ("title", "desc")
    for banned in ("certified", "proven"):
        assert banned not in page.lower()


def test_hostile_names_are_shown_as_text(make: Make) -> None:
    page = render(make(HOSTILE))
    for name in HOSTILE:
        assert str(escape(clean(name))) in page
    text = Reader(page).text
    assert all(clean(name) in text for name in HOSTILE)
    drawn = "".join("".join(svg.itertext()) for svg in svgs(page))
    assert all(clean(name) in drawn for name in HOSTILE)
    assert "\x00" not in page


@pytest.mark.parametrize("classes", [["cat", "dog", "emu"], HOSTILE])
def test_the_only_script_is_ours_and_the_policy_lets_no_other_run(make: Make, classes: list[str]) -> None:
    page = render(make(classes))
    ours = (Path(report.__file__).parent / "page.js").read_text(encoding="utf-8")
    reader = Reader(page)
    assert reader.scripts == [ours]
    assert page.lower().count("<script") == page.lower().count("</script") == 1
    digest = base64.b64encode(hashlib.sha256(ours.encode()).digest()).decode()
    policy = next(a["content"] for _, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not {"innerHTML", "eval", "fetch", "http"} & set(re.findall(r"\w+", ours))


def test_the_readings_can_be_sorted_by_what_they_are(make: Make) -> None:
    page = render(make())
    assert re.search(r'<td class="n" data-v="0.0321">3.2%</td><td class="n" data-v="0.1\d*">1.6–13.2%</td>', page)
    assert '<p class="tools" hidden>' in page  # there without the script, but not shown
    assert "<button" not in page
    assert "<script" not in render(make(audit=None))


def test_without_an_audit_the_page_says_what_to_run(make: Make) -> None:
    folder = make(audit=None)
    page = render(folder)
    assert "No audit has been made" in page
    assert f"unlearnkit audit {folder}" in page
    assert "All readings" not in page
    assert "3.28 s" in page


def test_an_audit_of_two_files_renders_and_does_not_vouch_for_the_method(make: Make) -> None:
    config = artefacts(["a", "b"])["config.json"]
    for key in ("method", "settings", "needs", "notes"):
        del config[key]
    config |= {"kind": "audit", "unlearned": "/elsewhere/after.safetensors", "model": None}
    page = render(make(config=config, cost=None, history=None))
    assert re.search(r"<strong>unknown</strong>\s*<span>read by the method", page)
    assert "never opened" not in page
    assert "Compared with after.safetensors" in first_screen(page)
    assert "Accuracy per class" in page


def test_without_a_retrained_model_the_page_says_what_is_open(make: Make) -> None:
    classes = ["cat", "dog", "emu", "a b"]
    page = html.unescape(render(make(classes, audit=audit_json(classes, retrained=0))))
    assert "No retrained model was given" in page
    train = "unlearnkit train --model small-cnn --data digits --exclude 'a b' --exclude cat"
    assert f"{train} --mean 0.3 --std 0.4 --out retrained" in page
    assert "--retrained retrained/model.safetensors" in page


def test_several_retrained_models(make: Make) -> None:
    page = render(make(audit=audit_json(["cat", "dog", "emu", "fox"], retrained=3)))
    assert "retrained, mean of 3 2.2% (1.2–3.2%)" in first_screen(page)
    for name in ("retrained 1", "retrained 2", "retrained 3"):
        assert name in page
    assert "1.2% / 2.2% / 3.2%" in page
    accuracy = next(s for s in svgs(page) if s[0].text == "Accuracy per class, on test data")
    assert len(of_class(accuracy, "retrained")) == 4 * (3 + 1)  # three marks and one number in each of four rows


def test_unknown_values_are_said_with_their_reason(make: Make) -> None:
    audit = audit_json(["cat", "dog"])
    for r in audit["readings"]:
        r |= {"value": None, "interval": None, "series": None, "doubts": [asdict(no_samples("forget_test"))]}
    page = render(make(audit=audit))
    text = Reader(page).text
    assert "Not available: unknown: forget_test has no samples." in text
    assert "unknown → unknown" in text
    assert "None" not in text


def test_absent_keys_are_named_as_such(make: Make) -> None:
    page = render(
        make(manifest={}, config={"kind": "forget"}, request={}, access={}, cost={}, audit={"schema": 2}, history={})
    )
    assert "not recorded" in page
    assert "None" not in Reader(page).text


@pytest.mark.parametrize("kind", ["train", "export", None])
def test_other_folders_are_refused(make: Make, kind: str | None) -> None:
    folder = make(config={"kind": kind})
    with pytest.raises(OutputError, match="Expected a run folder made by `forget` or `audit`"):
        render(folder)


def test_a_missing_file_and_a_damaged_reading_are_named(make: Make) -> None:
    with pytest.raises(OutputError, match=r"access\.json"):
        render(make(access=None))
    with pytest.raises(OutputError, match="run the audit again"):
        render(make(audit={"schema": 2, "readings": [{"metric": "accuracy"}]}))
    damaged = audit_json(["cat", "dog"])
    damaged["readings"][0]["doubts"] = ["small sample: 36"]
    with pytest.raises(
        OutputError, match=r"Expected a doubt or a reason .* in audit\.json, but got 'small sample: 36'"
    ):
        render(make(audit=damaged))


@pytest.mark.parametrize(("schema", "got"), [(None, "one of an earlier version, without a number"), (4, "schema 4")])
def test_an_audit_of_another_schema_is_refused_with_what_to_do(make: Make, schema: int | None, got: str) -> None:
    other = audit_json(["cat", "dog"]) | {"schema": schema}
    if schema is None:
        del other["schema"]
    folder = make(audit=other)
    with pytest.raises(OutputError, match=r"Expected an audit\.json of schema 3") as caught:
        render(folder)
    assert str(caught.value).endswith(f"but got {got}; run `unlearnkit audit {folder}` again.")
    assert caught.value.exit_code == 2


def test_provenance_has_command_hashes_settings_and_counts(make: Make) -> None:
    page = html.unescape(render(make()))
    assert "unlearnkit forget --forget 'a b'" in page
    assert page.count(DIGEST) >= 3
    assert "noise.steps" in page
    assert "/runs/retrained-0/model.safetensors" in page
    assert re.search(r"retained classes, training</th><td class=\"n\">408</td><td class=\"n\">300</td>", page)


def test_the_bands_are_drawn_each_on_its_own_scale(make: Make) -> None:
    page = render(make(audit=judged_audit()))
    drawn = next(svg for svg in svgs(page) if svg[0].text == "Where the model stands")
    told = {text[0].text: text[0].tail for text in of_class(drawn, "label")}
    assert told["Accuracy, forgotten classes, test: outside, at 12.5× the way to the end of the band"] == "✕ forgotten"
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
    assert "Farthest from the retrained models: Accuracy, forgotten classes, test, at 12.5× the way" in text
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
    assert list(EN.PRIMARY) == VOTES
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
