"""The search for defaults: one budget for every method, scores over several models, and what is not run twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tune_defaults
from unlearnkit.errors import ConfigError, NonFiniteLossError
from unlearnkit.methods.registry import METHODS
from unlearnkit.tuning.scoring import Judged

pytestmark = pytest.mark.xdist_group("tune_defaults")  # one process makes the search


@pytest.fixture
def arguments(narrow_run: Path, tmp_path: Path) -> list[str]:
    weights = str(narrow_run / "model.safetensors")
    on = [
        "--on",
        "digits",
        weights,
        "3",
        "retain_per_class=20",
        "--on",
        "digits",
        weights,
        "7,8",
        "retain_per_class=10",
    ]
    return [*on, "--trials", "3", "--only", "neggrad", "finetune", "--out", str(tmp_path / "found.json")]


def found(arguments: list[str]) -> dict[str, Any]:
    tune_defaults.main(arguments)
    content: dict[str, Any] = json.loads(Path(arguments[-1]).read_text())
    return content


@pytest.fixture(scope="module")
def searched() -> list[Path]:
    """Where the file of one whole search lies, once there is one."""
    return []


@pytest.fixture
def done(arguments: list[str], searched: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the arguments find, whose file is there: one search for all tests that go on from it."""
    if not searched:
        out = tmp_path_factory.mktemp("searched") / "found.json"
        tune_defaults.main([*arguments[:-1], str(out)])
        searched.append(out)
    shutil.copy(searched[0], arguments[-1])
    content: dict[str, Any] = json.loads(searched[0].read_text())
    return content


@pytest.mark.slow
def test_every_method_has_the_same_budget_and_its_default_is_the_first_trial(done: dict[str, Any]) -> None:
    result = done
    assert [task["forget"] for task in result["on"]] == [["3"], ["7", "8"]]
    assert [task["settings"] for task in result["on"]] == [["retain_per_class=20"], ["retain_per_class=10"]]
    assert {name: search["signal"] for name, search in result["found"].items()} == {
        "neggrad": "samples",
        "finetune": "remade",
    }
    for name, search in result["found"].items():
        trials = search["trials"]
        assert len(trials) == 3
        assert trials[0]["settings"] == []
        assert all({s.partition("=")[0] for s in t["settings"]} == set(METHODS[name]().space()) for t in trials[1:])
        whole = [trial for trial in trials if len(trial["on"]) == 2]
        assert trials[0] in whole
        for trial in whole:
            assert trial["score"] == pytest.approx(sum(on["score"] for on in trial["on"]) / 2)
        assert trials[search["best"]]["score"] == max(trial["score"] for trial in whole)
        assert all(trial["score"] is None for trial in trials if trial not in whole)
    epochs = METHODS["finetune"]().model_dump()["recipe"]["epochs"]
    assert [on["samples"] for on in result["found"]["finetune"]["trials"][0]["on"]] == [
        2 * epochs * 9 * 20,
        2 * epochs * 8 * 10,
    ]


def test_no_score_is_above_the_bound() -> None:
    """Every retained validation sample right and nothing left: won is what the original lacks there."""
    judge = SimpleNamespace(before=Judged(retained=0.8, left=0.9, recognised=0.9, mass=0.9))
    perfect = Judged(retained=1.0, left=0.0, recognised=0.0, mass=0.0)
    assert tune_defaults.bound(judge) == pytest.approx(perfect.score(0.8)) == pytest.approx(0.2)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["first", "all"])
def test_trials_that_fail_are_told_and_do_not_end_the_search(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    run, calls = tune_defaults.Task.run, iter(range(1000))

    def fails(self: Any, method: Any, judge: Any) -> Any:
        if next(calls) == 0 or failing == "all":
            raise NonFiniteLossError("too strong")
        return run(self, method, judge)

    monkeypatch.setattr(tune_defaults.Task, "run", fails)
    result = found([*arguments[:-2], "--out", arguments[-1]])["found"]
    assert result["neggrad"]["trials"][0] == {"settings": [], "on": [], "score": None, "failure": "too strong"}
    told = capsys.readouterr().out
    if failing == "all":
        assert [search["best"] for search in result.values()] == [None, None]
        assert told.count("every trial failed") == 2
    else:
        assert result["neggrad"]["best"] in (1, 2)
        assert "neggrad: failed -> " in told


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_a_file_of_other_models_or_another_budget_is_not_gone_on_with(arguments: list[str]) -> None:
    out = Path(arguments[-1])
    first = out.read_text()
    for changed in (["9" if word == "3" else word for word in arguments[:5]] + arguments[5:], None):
        other = changed or [*arguments, "--trials", "2"]
        with pytest.raises(ConfigError, match=f"with the same '{'on' if changed else 'trials'}'; give another --out"):
            tune_defaults.main(other)
        assert out.read_text() == first


@pytest.mark.slow
def test_what_was_found_is_not_searched_again(
    done: dict[str, Any], arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = done
    monkeypatch.setattr(tune_defaults, "search", lambda *_: pytest.fail("searched again"))
    assert found(arguments) == first


@pytest.mark.slow
def test_a_trial_that_cannot_win_is_ended_on_the_first_model(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where even a perfect score on the others would not make it the best: the same trial wins."""
    scores = iter([-0.1, -0.1, -0.9, -0.3, -0.05])  # the default on both; given up on the first; the last on both
    run = tune_defaults.Task.run

    def scored(self: Any, method: Any, judge: Any) -> Any:
        judged, _, cost = run(self, method, judge)
        return judged, next(scores), cost

    monkeypatch.setattr(tune_defaults.Task, "run", scored)
    monkeypatch.setattr(tune_defaults, "bound", lambda judge: 0.2)
    trials = found([*arguments[:-3], "--out", arguments[-1]])["found"]["neggrad"]
    assert [len(trial["on"]) for trial in trials["trials"]] == [2, 1, 2]
    assert trials["best"] == 0


def test_classes_are_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tune_defaults.main(["--on", "digits", arguments[2]])
    assert "weights and classes after --on" in capsys.readouterr().err
