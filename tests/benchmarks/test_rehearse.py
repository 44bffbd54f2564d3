"""The rehearsal of the full-size suites: what stays as it is, which images it takes, and which failures it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import rehearse
from row_data import write_people
from unlearnkit.compare.suite import Suite, read_suite, suite_from

SUITE: dict[str, Any] = {
    "title": "people",
    "training_seeds": [0, 1],
    "settings": [
        {
            "data": "parquet:{data}/people",
            "model": "small-cnn,width=4",
            "recipe": ["epochs=90", "lr=0.01"],
            "requests": [{"forget": ["ant"]}, {"rows": [9_999]}],
        }
    ],
    "methods": [{"name": "finetune"}],
}


@pytest.mark.parametrize("name", rehearse.full_size())
def test_requests_and_methods_stay_as_they_are_and_every_network_is_narrow(name: str) -> None:
    suite = read_suite(name)[1]
    short = rehearse.rehearsal(suite)
    few = f"retain_per_class={rehearse.RETAINED}"
    for before, after in zip(suite.methods, short.methods, strict=True):
        assert after.set in (before.set, (*before.set, few))
        assert after.model_copy(update={"set": before.set}) == before
    made = [method.choice().make() for method in short.methods]
    assert all((getattr(each, "retain_per_class", None) or 0) <= rehearse.RETAINED for each in made)
    assert (short.training_seeds, short.unlearning_seeds, short.retrained, short.audit) == ((0,), (0,), 3, "quick")
    for old, new in zip(suite.settings, short.settings, strict=True):
        assert new.requests == old.requests
        assert "epochs=1" in new.recipe
        assert {each.partition("=")[0] for each in old.recipe} <= {each.partition("=")[0] for each in new.recipe}
        assert new.model == old.model if "width=16" in old.model else new.model != old.model


def test_the_first_images_of_each_class_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_people(tmp_path / "people")
    monkeypatch.setattr(rehearse, "IMAGES", {"train": 15, "test": 1})
    monkeypatch.setattr(rehearse, "FEWEST", {"train": 1, "test": 2})
    rehearse.copy_few(tmp_path / "people", tmp_path / "few")
    whole, few = (pq.read_table(tmp_path / name / "train.parquet") for name in ("people", "few"))
    assert few["label"].to_pylist() == [0, 1, 2] * 5
    assert few.to_pylist() == whole.slice(0, 15).to_pylist()
    assert few.schema.metadata == whole.schema.metadata
    assert pq.read_table(tmp_path / "few" / "test.parquet").num_rows == 6
    with pytest.raises(SystemExit, match=r"Expected train\.parquet in .*none, but there is none"):
        rehearse.copy_few(tmp_path / "none", tmp_path / "more")


def test_of_each_setting_the_first_and_the_last_request_may_stand_for_all() -> None:
    suite = read_suite("cifar100")[1]
    short = rehearse.rehearsal(suite, ends=True)
    assert [[len(each.forget) for each in setting.requests] for setting in short.settings] == [[1, 60], [1, 60]]
    one = suite_from({**SUITE, "settings": [{**SUITE["settings"][0], "requests": [{"forget": ["ant"]}]}]})
    assert rehearse.rehearsal(one, ends=True).settings[0].requests == one.settings[0].requests


@pytest.mark.slow
def test_every_cell_is_run_and_those_that_fail_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(name: str) -> tuple[str, Suite]:
        return name, suite_from(SUITE)

    write_people(tmp_path / "people")
    monkeypatch.setattr(rehearse, "read_suite", read)
    given = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--suites", "digits"]
    assert rehearse.main(given) == 1
    said = capsys.readouterr().out
    assert "digits: 1 of 2 cells end" in said
    assert said.count("\nfailed: ") == 1
    with pytest.raises(SystemExit):
        rehearse.main(given)
    assert "is not empty, and what an earlier version ran there would count" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        rehearse.main([*given[:3], str(tmp_path / "other"), *given[4:], "--jobs", "0"])
    assert "Expected at least one job at once, but got --jobs 0" in capsys.readouterr().err
    assert "\nfailed: digits, finetune (finetune-" in said
    assert said.endswith("Expected rows of the training data, 0 to 35, but got 9999; rows are counted from 0.\n")
