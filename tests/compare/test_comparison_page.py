"""The table and the picture of a comparison, from made-up rows."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.compare.method_table import table
from unlearnkit.compare.picture import picture


def row(method: str, seed: int, gap: float, samples: int, variant: str = "default", **more: Any) -> dict[str, Any]:
    primary = {
        each.key: {"family": each.family, "value": 0.5, "status": "pass", "gap": gap, "retrained": [0.4, 0.5, 0.6]}
        for each in PRIMARY
    }
    verdict = {"worst_gap": gap, "worst": "probe_recovery/forget_test", "families_passed": ["accuracy"] * (seed + 1)}
    cost = {"seconds": samples / 100, "samples_forward": samples / 2, "samples_backward": samples / 2}
    common = {"method": method, "variant": variant, "seed": seed, "control": False, "failure": None, "verdict": verdict}
    return common | {"primary": primary, "cost": cost, "needs": [], "forget_samples_read": 0} | more


def results(rows: list[dict[str, Any]]) -> dict[str, Any]:
    retraining = [{"seconds": 10.0 * k, "samples_forward": 500 * k, "samples_backward": 500 * k} for k in (1, 2, 9)]
    named = {"model": "small-cnn", "data": "digits", "forget": ["3"], "tuning": {}, "trials": 2, "seeds": 3}
    return named | {"rows": rows, "retraining": retraining}


def test_the_table_gives_medians_and_ranges_over_the_seeds() -> None:
    lines = table(results([row("ssd", 0, 1.0, 200), row("ssd", 1, 4.0, 400), row("ssd", 2, 2.0, 200)])).splitlines()
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert cells == [
        "`ssd`",
        "default",
        "no",
        "50.0",
        "50.0",
        "2 (1 to 3) of 5",
        "2.0 (1.0 to 4.0)",
        "probe",
        "0.100 (0.100 to 0.200)",
        "0.100 (0.100 to 0.200)",
    ]
    assert lines[2].count("50.0 (40.0 to 60.0)") == 2
    counted = results([row("ssd", 0, 1.0, 200)])
    counted["retraining"][0]["seconds"] = None  # its operations were counted, which takes time
    assert table(counted).splitlines()[3].split("|")[-3:-1] == [" 0.036 ", " 0.100 "]
    counted["retraining"] = counted["retraining"][:1]
    assert table(counted).splitlines()[3].split("|")[-3:-1] == [" - ", " 0.200 "]


def test_the_readings_that_vote_are_bold_where_most_runs_fail_and_in_brackets_where_none_is_judged() -> None:
    rows = [row("ssd", seed, 1.0, 200) for seed in range(3)]
    for seed, (fails, value) in enumerate(((True, 0.1), (True, 0.2), (False, 0.9))):
        rows[seed]["primary"]["probe_recovery/forget_test"] |= {"status": "fail" if fails else "pass", "value": value}
        rows[seed]["primary"]["membership_auc_loss"] |= {"status": "fail" if seed == 0 else "pass", "value": 0.7}
        rows[seed]["primary"]["class_membership_auc"] |= {"status": "unknown", "value": None if seed == 1 else 0.6}
    lines = table(results(rows)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("The readings that vote")) + 2
    heads, _, retrained, ssd = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[start : start + 4]
    )
    found = dict(zip(heads, ssd, strict=True))
    assert found["probe"] == "**0.20**"
    assert found["membership of samples"] == "0.70"
    assert found["membership of the class"] == "(0.60)"
    assert found["outputs"] == "0.50"
    assert retrained[2] == "0.50 (0.40 to 0.60)"


def test_seeds_that_are_missing_are_named() -> None:
    """A method that diverges under some seeds is not to look better than it is."""
    failed = {"method": "ssd", "variant": "default", "control": False, "needs": [], "failure": "diverged"}
    rows = [row("ssd", 0, 1.0, 200), failed | {"seed": 1}, failed | {"seed": 2, "failure": "too large"}]
    rows += [failed | {"method": "fisher", "seed": seed} for seed in range(3)]
    text = table(results(rows))
    assert "| `ssd` | default, 1 of 3 seeds | no |" in text
    lines = text.splitlines()
    assert lines[lines.index("Not run:") + 2 :][:3] == [
        "- `ssd`, default, seed 1: diverged",
        "- `ssd`, default, seed 2: too large",
        "- `fisher`, default: diverged",
    ]


def test_the_picture_shows_the_tuned_variant_where_there_is_one() -> None:
    rows = [row("ssd", 0, 5.0, 200), row("ssd", 0, 3.0, 100, "tuned"), row("fisher", 0, 2.0, 4000)]
    rows.append(row("scrub", 0, 1.0, 10, "paper"))
    rows.append({"method": "delete", "variant": "default", "seed": 0, "control": False, "failure": "no", "needs": []})
    tips = [
        each.text or "" for each in ElementTree.fromstring(picture(results(rows))).iter() if each.tag.endswith("title")
    ]
    assert [tip.partition(":")[0] for tip in tips[1:]] == ["ssd", "fisher"]
    assert tips[1].endswith("bands of the retrained models 3.00")


def test_the_nearest_to_retraining_comes_first_and_controls_come_last() -> None:
    rows = [row("original", 0, 0.1, 0, control=True), row("ssd", 0, 5.0, 200), row("fisher", 0, 2.0, 4000)]
    lines = table(results([*rows, row("ssd", 0, 1.0, 200, "tuned")]) | {"seeds": 1}).splitlines()
    assert [" ".join(line.split("|")[1:3]).split() for line in lines[3 : lines.index("")]] == [
        ["`ssd`", "tuned"],
        ["`fisher`", "default"],
        ["`ssd`", "default"],
        ["`original`", "(control)", "default"],
    ]
