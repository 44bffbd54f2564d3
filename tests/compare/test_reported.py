"""Reported figures beside measured ones, and what is said of an article's statements, from made-up results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from suites import FULL, made_group, made_results, made_row
from unlearnkit.cli.show_compare import show_table
from unlearnkit.compare.groups import value_of
from unlearnkit.compare.leaderboard import leaderboard
from unlearnkit.compare.provenance import measured_by
from unlearnkit.compare.reported import HELD, NOT_HELD, UNMEASURED, UNTOLD, beside, named_row, only, statements
from unlearnkit.compare.results import collected
from unlearnkit.compare.summary import HEADS, summaries
from unlearnkit.compare.tables import latex, markdown
from unlearnkit.compare.work import Place


def paper(value: float, **more: Any) -> dict[str, Any]:
    row = made_row("unsir-paper", 0.5, variant="paper", **more)
    row["primary"]["accuracy/retain_test"]["value"] = value
    return row


ARTICLES = next(each for each in FULL.methods if each.shown == "unsir-paper").model_dump(mode="json")


def articles(*groups: dict[str, Any], **suite: Any) -> dict[str, Any]:
    """Results of a suite of the article's method alone."""
    return made_results(*groups, **({"methods": [ARTICLES]} | suite))


def test_a_reported_row_stands_beside_what_was_measured_of_its_setting() -> None:
    near = articles(made_group([paper(0.70), paper(0.72, seed="0/1"), paper(0.99, seed="0/2")]))
    by_id = {row.id: row for row in beside(near)}
    row = by_id["unsir-cifar10-resnet18-1-retained"]
    assert (row.holds, row.shown) == ("yes", "0.72 (3 runs)")
    assert set(by_id) == {"unsir-cifar10-resnet18-1-retained", "unsir-cifar10-resnet18-1-forgotten"}
    assert "| `unsir-cifar10-resnet18-1-retained` |" in markdown(near)
    (far, _) = beside(articles(made_group([paper(0.60)])))
    assert (far.holds, far.shown) == ("no", "0.6 (1 run)")
    (none, _) = beside(articles(made_group([paper(0.7) | {"failure": "no"}])))
    assert (none.holds, none.shown) == (UNMEASURED, UNMEASURED)
    assert beside(articles(made_group([paper(0.7)], after=[["1"]]))) == []
    assert beside(articles(made_group([paper(0.7)], model="airbench"))) == []
    assert beside(articles(made_group([paper(0.7)], recipe=["epochs=1"]))) == [], "trained otherwise"
    assert beside(articles(made_group([paper(0.7)], image_size=16))) == []
    earlier = made_group([paper(0.7)])
    for key in ("pretrained", "image_size", "samples", "label_column"):
        del earlier[key]
    assert len(beside(articles(earlier))) == 2, "what a group does not keep its suite says"
    settings = [FULL.settings[0].model_dump(mode="json") | {"image_size": 16}]
    assert beside(articles(earlier, settings=settings)) == []
    for changed in ({"name": "finetune"}, {"set": ["rounds=3"]}, {"preset": "default"}):
        (other, _) = beside(articles(made_group([paper(0.7)]), methods=[ARTICLES | changed]))
        assert other.holds == UNMEASURED, "another method under its label"


def test_rows_of_methods_that_a_suite_does_not_have_are_not_listed() -> None:
    every = {row.id for row in beside(made_results(made_group([paper(0.7)])))}
    assert "salun-cifar10-resnet18-1-retained" in every
    assert {row.id for row in beside(articles(made_group([paper(0.7)])))} < every


def test_what_is_collected_of_the_articles_setting_stands_beside_its_rows(tmp_path: Path) -> None:
    suite = only(FULL, named_row("unsir-cifar10-resnet18-1-retained"))
    results = collected("mine", suite, Place(out=tmp_path, bank=tmp_path))
    assert {row.id for row in beside(results)} == {
        "unsir-cifar10-resnet18-1-retained",
        "unsir-cifar10-resnet18-1-forgotten",
    }
    for changed in ({"image_size": 16}, {"pretrained": True}, {"samples": 500}, {"label_column": "label"}):
        other = suite.model_copy(update={"settings": (suite.settings[0].model_copy(update=changed),)})
        assert beside(collected("mine", other, Place(out=tmp_path, bank=tmp_path))) == []


def test_every_statement_is_held_not_held_or_not_measured() -> None:
    def said(*groups: dict[str, Any]) -> dict[str, tuple[str, str]]:
        return {each.id: (each.outcome, each.figures) for each in statements(made_results(*groups))}

    nothing = made_results(made_group([]))
    assert statements(nothing) == []
    assert "statements" not in markdown(nothing), "a suite that says nothing to any of it does not list it"
    cheap = {"seconds": 1.0, "samples_forward": 1, "samples_backward": 1}
    many = made_row("unsir", 0.5)
    many["primary"]["accuracy/retain_test"] |= {"value": 0.59}
    fisher = made_row("fisher", 3.0, cost=cheap | {"seconds": 2000.0})
    one = [made_row("unsir", 0.5), paper(0.7, cost=cheap), fisher]
    found = said(made_group(one), made_group([many], forget=["0", "1", "2"]))
    assert {key: outcome for key, (outcome, _) in found.items()} == {
        "one-or-many": HELD,
        "better-repair": HELD,
        "weight-distance": HELD,
        "relearning": UNMEASURED,
        "spread": HELD,
        "154-times": HELD,
        "1875-times": HELD,
    }
    assert "samples, 2 and 2 s for 1 and 3" in found["one-or-many"][1]
    assert "400.0 times, in samples 500.0 times" in found["154-times"][1]
    assert "2000.0 times, in samples 1.0 times" in found["1875-times"][1]
    alike = made_row("unsir", 0.5)
    alike["shown"]["relearn_steps"] = {"value": 1.0, "original": 1.0, "retrained": [1.0, 1.0, 2.0]}
    shown = "the original takes 1 steps, the quickest retrained model 1"
    assert said(made_group([alike]))["relearning"] == (UNTOLD, f"resnet18-cifar on parquet:{{data}}/cifar10: {shown}")
    counted = made_group(one)
    for cost in counted["retraining"]:
        cost["seconds"] = None
    assert said(counted)["154-times"][0] == UNMEASURED, "counting operations took time"
    free = cheap | {"samples_forward": 0, "samples_backward": 0}
    idle = [made_row("unsir", 0.5, cost=free), paper(0.7, cost=free), made_row("fisher", 1.0)]
    outcomes = said(made_group(idle), made_group([many], forget=["0", "1"]))
    assert {outcomes[key][0] for key in ("one-or-many", "154-times", "1875-times")} == {UNMEASURED}, (
        "nothing was passed"
    )
    few = made_row("unsir", 3.0, cost=cheap)
    few["shown"]["weight_distance"]["value"] = 2.0
    few["shown"]["relearn_steps"] = {"value": 3.0, "original": 2.0, "retrained": [9.0, 8.0, 7.0]}
    worse = made_row("unsir", 3.0)
    worse["primary"]["accuracy/retain_test"] |= {"value": 0.2}
    found = said(
        made_group([few, paper(0.7, cost=cheap | {"seconds": 9.0}), made_row("fisher", 1.0)]),
        made_group([worse], forget=["0", "1"]),
    )
    assert {outcome for outcome, _ in found.values()} == {NOT_HELD}


@pytest.mark.parametrize(("value", "outcome"), [(0.4955, HELD), (0.494, NOT_HELD)])
def test_half_a_point_of_accuracy_is_no_worse_a_repair(value: float, outcome: str) -> None:
    many = made_row("unsir", 0.5)
    many["primary"]["accuracy/retain_test"] |= {"value": value}  # one class leaves 0.5
    results = made_results(made_group([made_row("unsir", 0.5)]), made_group([many], forget=["0", "1"]))
    assert {each.id: each.outcome for each in statements(results)}["better-repair"] == outcome


def test_hostile_words_are_text_in_markdown_and_latex() -> None:
    bad = r"a|b`<i>\input{x}%$_&#~^"
    results = made_results(made_group([made_row("unsir", 0.5, variant=bad)], data=bad), title="x\n| y |")
    text = markdown(results)
    assert "<i>" not in text.replace(r"\<i\>", "").replace(bad, "")
    assert "\n| y |" not in text
    (line,) = (line for line in latex(results).splitlines() if line.startswith("unsir &"))
    assert r"\textbackslash{}input\{x\}\%\$\_\&\#" in line
    spread = made_group([made_row("unsir", 0.5), made_row("unsir", 0.75, seed="0/1")], forget=["x\n\\input{y}"])
    lines = latex(made_results(spread)).splitlines()
    assert lines[0].startswith("% ")
    assert not any(line.startswith(r"\input") for line in lines), "a comment ends with its line"
    assert "& 0.62 (0.50 to 0.75) & 0.100 &" in next(line for line in lines if line.startswith("unsir &"))
    failed = {**made_row("ssd", 1.0), "failure": "got <img src=x> | y"}
    assert r"got \<img src=x\> \| y" in markdown(made_results(made_group([failed])))


def test_a_class_without_test_images_has_no_accuracy_in_the_tables() -> None:
    row = made_row("unsir", 0.5)
    row["primary"]["accuracy/forget_test"] |= {"value": None, "retrained": [None, None, None], "original": None}
    results = made_results(made_group([row]))
    (line,) = (line for line in markdown(results).splitlines() if line.startswith("| 3 retrained models"))
    assert line.startswith("| 3 retrained models | | | - | 50.0 (40.0 to 60.0) |")
    assert "unsir" in latex(results)
    assert "unsir" in leaderboard(results, Path("none"))
    assert summaries(results)


def test_readings_that_a_suite_asks_for_have_columns() -> None:
    rows = [made_row("unsir", 0.5), made_row("unsir", 0.5, seed="0/1")]
    rows[1]["shown"]["weight_distance"]["value"] = 12.0
    rows[0]["shown"]["zrf/forget_test"] = {"value": 0.25, "original": None, "retrained": [0.5, None], "doubts": {}}
    results = made_results(made_group(rows), metrics=["weight_distance", "zrf", "collateral_accuracy"])
    heads, _, retrained, unsir = (line.split("|")[-4:-1] for line in markdown(results).splitlines()[4:8])
    assert heads == [" weight distance ", " zrf ", " collateral accuracy "]
    assert retrained == [" 10.00 (9.00 to 11.00) ", " 0.50 ", " - "]
    assert unsir == [" 11.00 (10.00 to 12.00) ", " 0.25 ", " - "]
    (line,) = (line for line in latex(results).splitlines() if line.startswith("unsir &"))
    assert line.split(" & ")[6:] == ["11.00 (10.00 to 12.00)", "0.25", "-", r"pass \\"]


def test_tables_say_what_they_were_measured_with() -> None:
    facts = {
        "versions": {"unlearnkit": "1.2", "torch": "3.4"},
        "hardware": {"device": "cpu", "machine": "m", "threads": 1},
    }
    results = made_results(made_group([made_row("unsir", 0.5)]))
    assert "Measured with" not in markdown(results)
    assert "Measured with unlearnkit 1.2, torch 3.4 on cpu (m, one thread)." in markdown(results | facts)
    other = {"versions": facts["versions"], "hardware": {"device": "cuda", "machine": "m", "threads": 8}}
    both = results | {"measured": measured_by([facts, other, facts])}
    first, second = (
        "unlearnkit 1.2, torch 3.4 on cpu (m, one thread)",
        "unlearnkit 1.2, torch 3.4 on cuda (m, 8 threads)",
    )
    assert f"Measured with {first}; and with {second}." in markdown(both)


def test_a_reading_on_several_parts_is_not_taken_by_its_name() -> None:
    run = made_row("unsir", 0.5)
    run["shown"]["accuracy/forget_train"] = {"value": 0.11}
    assert value_of(run, "accuracy") is None
    assert value_of(run, "accuracy/forget_train") == 0.11
    assert value_of(run, "weight_distance") == 10.0


def test_the_terminal_shows_medians_verdicts_and_the_spread(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [made_row("unsir", gap, seed=f"0/{i}") for i, gap in enumerate((0.5, 2.0, 0.9))]
    hostile = made_row("ssd\x1b[1m", 3.0)
    (summary,) = summaries(made_results(made_group([hostile, *rows]), made_group([], forget=["1"])))
    show_table(summary.heading, HEADS, summary.rows)
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "resnet18-cifar on parquet:{data}/cifar10: forget 0"
    assert lines[2] == "unsir 50.0 50.0 0.9 0.5-2.0 probe 0.100 2 pass, 1 fail"
    monkeypatch.setenv("COLUMNS", "40")
    show_table(summary.heading, HEADS, summary.rows)
    assert capsys.readouterr().out == out, "figures are not cut"
    assert "\x1b" not in out
