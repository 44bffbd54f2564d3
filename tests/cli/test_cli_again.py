"""Requests one after another: what was forgotten earlier stays out."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import WEIGHTS, Outcome, assert_refused, forget, read, run_cli, tree
from unlearnkit.models.checkpoint import read_checkpoint


@pytest.mark.slow
def test_a_second_request_keeps_the_first_class_out_of_every_part(without_3: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = forget("--forget", 7, "--quiet", weights=without_3, out=out)
    assert done.code == 0, done.err
    card = read_checkpoint(out / WEIGHTS).card
    assert card is not None
    assert set(card.forgotten) == {"3", "7"}
    request = read(out, "request.json")
    assert (request["forget"], request["already_forgotten"]) == (["7"], ["3"])
    parts = read(out, "access.json")["parts"]
    assert parts["forget_train"].keys() == {"7"}
    for side in ("train", "test"):
        gone = parts[f"excluded_{side}"]
        assert gone.keys() == {"3"}
        assert (gone["3"]["read_by_method"], gone["3"]["read_by_audit"], gone["3"]["decoded"]) == (0, 0, 0)
        assert gone["3"]["samples"] > 0
    assert not any("3" in classes for part, classes in parts.items() if not part.startswith("excluded"))


@pytest.mark.parametrize("name", ["3", "03"])
def test_a_class_cannot_be_forgotten_twice(without_3: Path, tmp_path: Path, name: str) -> None:
    outcome = forget("--forget", name, weights=without_3, out=tmp_path / "out")
    assert_refused(outcome, "'3' is already forgotten")
    rest = [x for k in range(10) if k != 3 for x in ("--forget", k)]
    assert_refused(forget(*rest, weights=without_3, out=tmp_path / "out"), "none of the 10 classes")
    assert tree(tmp_path) == {}


def test_naming_a_recorded_class_again_as_already_forgotten_does_no_harm(without_3: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ("--forget", 7, "--already-forgotten", 3, "--already-forgotten", 5, "--no-audit", "--quiet")
    assert forget(*args, weights=without_3, out=out).code == 0
    assert read(out, "request.json")["already_forgotten"] == ["3", "5"]


@pytest.mark.slow
def test_audit_of_two_files_leaves_out_what_the_original_forgot(without_3: Path, audited: Path, tmp_path: Path) -> None:
    pair = ["--original", without_3, "--unlearned", audited / WEIGHTS, "--data", "digits", "--out", tmp_path / "out"]
    assert_refused(run_cli("audit", *pair, "--forget", 3), "'3' is already forgotten")
    done = run_cli("audit", *pair, "--forget", 7, "--quick", "--quiet", "--device", "cpu")
    assert done == Outcome(0, "", "")
    assert read(tmp_path / "out", "request.json")["already_forgotten"] == ["3"]
    assert read(tmp_path / "out", "access.json")["parts"]["excluded_test"]["3"]["read_by_audit"] == 0
