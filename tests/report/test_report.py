"""The report says what the run folder's JSON says, whatever the names in it, and loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from markupsafe import escape

from report_folders import DIGEST, HOSTILE, Make, artefacts, audit_json
from report_pages import CSV, Reader, first_screen, of_class, svgs
from unlearnkit import report
from unlearnkit.audit.doubts import Doubt, no_samples
from unlearnkit.errors import OutputError
from unlearnkit.report import render
from unlearnkit.report.text import clean


def test_first_screen_says_what_the_json_says(make: Make) -> None:
    page = render(make())
    start = first_screen(page)
    for fact in (
        "Request to forget class “cat”",
        "id 0",
        "Forgotten earlier fox",
        "unsir",
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
        "8% of its time",
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
            r["series"] = {"samples": 0.5}
    start = first_screen(render(make(audit=audit)))
    assert "400% of its time, 200% of its samples" in start
    assert "forgetting took longer than retraining" in start


@pytest.mark.parametrize("audited", [True, False])
def test_operations_are_shown_where_they_were_counted(make: Make, audited: bool) -> None:
    plain = render(make())
    assert "operations" not in plain
    cost, audit = artefacts(["cat", "dog"])["cost.json"], audit_json(["cat", "dog"])
    cost = {
        "stages": {"noise": cost["stages"]["noise"] | {"operations": 950}, "later": {"seconds": 1.0}},
        "total": cost["total"] | {"operations": 12_340_000},
    }
    for r in audit["readings"]:
        if r["metric"] == "cost_ratio":
            r |= {"series": {"samples": 20.0, "operations": 10.0}, "doubts": [asdict(Doubt("counted_on_one_side"))]}
    page = render(make(cost=cost, audit=audit if audited else None))
    start = first_screen(page)
    assert "floating-point operations 12.3 MFLOP" in start
    if audited:
        assert "8% of its time, 5% of its samples, 10% of its operations" in start
        assert "some of the runs were slowed by counting operations: their seconds do not compare" in start
    else:
        assert "slowed by counting operations: these seconds compare with nothing else" in start
    rows = re.findall(r"<tr.*?</tr>", page[page.index("What it cost") :], flags=re.DOTALL)[:4]
    last = [re.sub(r"<[^>]+>", "", re.findall(r"<t[hd].*?</t[hd]>", row)[-1]) for row in rows]
    assert last == ["floating-point operations", "950 FLOP", "not recorded", "12.3 MFLOP"]


def test_the_verdict_names_readings_as_the_rest_of_the_page_does(make: Make) -> None:
    read = {"reading": "class_membership_auc", "reason": asdict(Doubt("not_measured"))}
    why = [
        Doubt("outside_band", {"readings": ["activation_distance/forget_test", "reading_of_tomorrow"]}),
        Doubt("representation_unresolved", {"reasons": [asdict(Doubt("reading_unresolved", read))]}),
        Doubt("readings_unresolved", {"readings": ["class_membership_auc"]}),  # which the list below the verdict says
    ]
    audit = audit_json(["cat", "dog"]) | {"verdict": {"status": "fail", "why": [asdict(each) for each in why]}}
    few = asdict(Doubt("few_retrained", {"needed": 3, "given": 1}))
    keys = ("membership_auc_loss", "prediction_tv/forget_test", "class_membership_auc")
    reasons = [asdict(Doubt("reading_unresolved", {"reading": key, "reason": few})) for key in keys]
    reasons[2] = asdict(Doubt("reading_unresolved", read))
    open_family = asdict(Doubt("outputs_and_membership_unresolved", {"reasons": reasons}))
    several = audit | {"verdict": {"status": "unknown", "why": [open_family]}}
    assert (
        "(“Membership of samples, by loss”, “Difference of predictions to retrained, forgotten classes, test”: it "
        "needs 3 retrained models, and 1 came; “Membership of the class”: it could not be measured)"
    ) in first_screen(render(make(audit=several))), "those with one reason are named together"
    assert (
        "Why: outside the band of the retrained models: “Distance of outputs to retrained, forgotten classes, test”, "
        "“Reading of tomorrow”; representation not resolved (“Membership of the class”: it could not be measured)."
    ) in first_screen(render(make(audit=audit)))


def test_a_failed_search_is_said_on_the_first_screen(make: Make) -> None:
    config = artefacts(["a", "b"])["config.json"]
    assert "at every learning rate" not in render(make(config=config))
    failed = config | {"notes": {"search": {"accepted": False, "attempts": [{"accuracy": 0.5}]}}}
    page = render(make(config=failed))
    assert "at every learning rate" in first_screen(page)


def test_a_direction_that_may_be_wrong_is_said_on_the_first_screen(make: Make) -> None:
    config = artefacts(["a", "b"])["config.json"]
    doubt = {"code": "directions_doubtful", "values": {"cosine": 0.554, "least": 0.65}}
    page = first_screen(render(make(config=config | {"notes": {"doubt": doubt}})))
    assert "The class may not be gone: the method estimates how the forgotten class looks" in page
    assert "have a cosine of 0.55 with the truth" in page
    assert "may not be gone" not in render(make(config=config))
    noted = config | {"notes": {"doubt": doubt}}
    for status, said in (("unknown", True), ("pass", False), ("fail", False)):
        audit = audit_json(["a", "b"], retrained=3) | {"verdict": {"status": status, "why": []}}
        assert ("may not be gone" in first_screen(render(make(config=noted, audit=audit)))) == said


def test_which_of_its_methods_auto_kept_is_on_the_first_screen(make: Make) -> None:
    config = artefacts(["a", "b"])["config.json"]
    page = render(make(config=config | {"method": "auto", "notes": {"auto": {"kept": "erase", "tried": []}}}))
    assert "auto: erase" in first_screen(page)


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


@pytest.mark.parametrize("doubt", ["a text", [], {"code": 3, "values": {}}, {"values": {}}])
def test_a_damaged_note_of_a_method_is_named(make: Make, doubt: object) -> None:
    config = artefacts(["cat", "dog"])["config.json"] | {"notes": {"doubt": doubt}}
    with pytest.raises(OutputError, match=r"config\.json"):
        render(make(config=config))


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
