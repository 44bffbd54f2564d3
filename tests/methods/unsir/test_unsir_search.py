"""UNSIR's search: when it lowers its rates, where each attempt starts, and which is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unlearnkit.methods.common.rate_search as search_module
from canonical import CPU, MODELS, tiny_data
from unlearnkit.data import ImageData
from unlearnkit.data.view import Samples
from unlearnkit.methods import UNSIR, unlearn
from unlearnkit.methods.common.rate_search import SearchSettings
from unlearnkit.request import ForgetRequest
from unsir_runs import Call, digits_model, forget, on_digits, plain

VALIDATION = 300  # images in `searched_data`, a hundred of each retained class


def searched_data() -> ImageData:
    return tiny_data(per_class=2000)


def scripted(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> list[dict[str, Tensor]]:
    """Let the search see these validation accuracies, the original's first; returns the weights it judged."""
    judged: list[dict[str, Tensor]] = []

    def predictions(model: nn.Module, samples: Samples, runtime: Any) -> Tensor:
        judged.append({k: v.clone() for k, v in model.state_dict().items()})
        assert torch.bincount(samples.labels, minlength=4).tolist() == [100, 100, 0, 100]  # retain_val
        right = round(accuracies[len(judged) - 1] * VALIDATION)
        shown = samples.labels.clone()
        shown[right:] = torch.where(shown[right:] == 0, 1, 0)
        return torch.nn.functional.one_hot(shown, 4).float()

    monkeypatch.setattr(search_module, "predict", predictions)
    return judged


def searching(*settings: str, **search: Any) -> UNSIR:
    options = {"trials": 0, "attempts": 3, "factor": 0.1, "tolerance": 0.05} | search
    return plain("impair.lr=0.02", "repair.lr=0.01", *settings, search=SearchSettings(**options))


def is_weights(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_the_search_lowers_both_rates_until_accuracy_holds(
    monkeypatch: pytest.MonkeyPatch, trained: list[Call], learned: list[Tensor]
) -> None:
    judged = scripted(monkeypatch, 1.0, 0.3, 0.96)
    result = forget(searching(), 2, data=searched_data())
    assert [(c.stage, c.recipe.lr) for c in trained] == [
        ("impair", pytest.approx(0.02)),
        ("repair", pytest.approx(0.01)),
        ("impair", pytest.approx(0.002)),
        ("repair", pytest.approx(0.001)),
    ]
    assert len(learned) == 1  # the noise is learned once
    notes = result.notes["search"]
    assert [a["accuracy"] for a in notes["attempts"]] == pytest.approx([0.3, 0.96])
    assert [a["factor"] for a in notes["attempts"]] == pytest.approx([1, 0.1])
    assert notes["accepted"]
    assert notes["validation_accuracy_before"] == 1.0
    assert is_weights(result.model, judged[2])


def test_every_attempt_starts_from_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["cnn-grey"].model()
    judged = scripted(monkeypatch, 1.0, 0.1, 0.2, 0.3)
    # with so small a rate, only what came before the attempt can move the weights
    forget(searching(factor=1e-9, attempts=3), 2, model=model, data=searched_data())
    assert all(torch.equal(v, judged[0][k]) for k, v in model.state_dict().items())
    for last in judged[2:]:
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(last[name], parameter.detach(), rtol=0, atol=1e-6)
    assert not torch.allclose(judged[1]["head.weight"], judged[0]["head.weight"], atol=1e-3)


def test_where_no_rate_holds_the_run_says_so_and_does_not_keep_the_lowest(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = scripted(monkeypatch, 1.0, 0.1, 0.2, 0.3)
    result = forget(searching(), 2, data=searched_data())
    assert is_weights(result.model, judged[1])
    assert (result.notes["search"]["accepted"], result.notes["search"]["kept"]) == (False, 0)
    assert len(result.notes["search"]["attempts"]) == 3


def test_short_trials_of_impair_find_where_the_attempts_start(
    monkeypatch: pytest.MonkeyPatch, trained: list[Call]
) -> None:
    """Of 300: (46 - sqrt(46)) / 300 = 0.131 is more than harm 0.1, (36 - 6) / 300 = 0.1 is not."""
    scripted(monkeypatch, 1.0, 0.3, 254 / 300, 0.88, 0.5, 0.96)
    passed: list[Call] = []
    monkeypatch.setattr(search_module, "train", lambda model, samples, recipe, **rest: passed.append(samples))
    result = forget(searching(trials=5, steps=2, harm=0.1), 2, data=searched_data())
    notes = result.notes["search"]
    assert [t["factor"] for t in notes["trials"]] == pytest.approx([1, 0.1, 0.01])
    assert [t["accuracy"] for t in notes["trials"]] == pytest.approx([0.3, 254 / 300, 0.88])
    assert [a["factor"] for a in notes["attempts"]] == pytest.approx([0.01, 0.001])
    assert [c.recipe.lr for c in trained if c.stage == "impair"] == pytest.approx([2e-4, 2e-5])
    assert [len(samples) for samples in passed] == [16, 16, 16]  # two steps of eight
    assert notes["accepted"]


def test_where_no_trial_holds_the_rates_stay_as_given(monkeypatch: pytest.MonkeyPatch, trained: list[Call]) -> None:
    scripted(monkeypatch, 1.0, 0.3, 0.3, 0.96)
    notes = forget(searching(trials=2, harm=0.1), 2, data=searched_data()).notes["search"]
    assert [a["factor"] for a in notes["attempts"]] == [1.0]


def test_the_trials_draw_nothing_from_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first rate holds, the weights are those without a search, bit for bit."""
    scripted(monkeypatch, 1.0, 1.0, 1.0)
    found = forget(searching(trials=3), 2, data=searched_data()).model
    assert is_weights(
        found, forget(plain("impair.lr=0.02", "repair.lr=0.01"), 2, data=searched_data()).model.state_dict()
    )


def test_no_test_sample_decides_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 0.9, 0.2, 0.2, 0.2)
    data = searched_data()
    data.fix_shape(0)
    data.test.decoded.zero_()
    result = forget(searching(), 2, data=data, tolerance=None)  # the safeguard looks afterwards, and decides nothing
    assert not result.notes["search"]["accepted"]
    assert not data.test.decoded.any()


def test_the_first_attempt_is_enough_where_accuracy_holds(monkeypatch: pytest.MonkeyPatch, trained: list[Call]) -> None:
    judged = scripted(monkeypatch, 0.9, 0.9)
    result = forget(searching(), 2, data=searched_data())
    assert len(trained) == 2
    assert is_weights(result.model, judged[1])
    assert result.notes["search"]["accepted"]


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [(1.0, 281 / 300, True), (1.0, 280 / 300, False), (0.5, 131 / 300, True), (0.5, 130 / 300, False)],
)
def test_the_margin_is_the_tolerance_and_a_standard_error(
    monkeypatch: pytest.MonkeyPatch, before: float, after: float, held: bool
) -> None:
    """Of 300, tolerance 0.05: (19 - sqrt(19)) / 300 = 0.0488 holds, (20 - sqrt(20)) / 300 = 0.0518 not."""
    scripted(monkeypatch, before, after)
    notes = forget(searching(attempts=1), 2, data=searched_data()).notes["search"]
    assert notes["accepted"] == held


def test_the_original_is_judged_without_the_outputs_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task is then as easy as a retrained model's; an attempt is judged on all of its outputs."""

    def predictions(model: nn.Module, samples: Samples, runtime: Any) -> Tensor:
        logits = torch.nn.functional.one_hot(samples.labels, 4).float()
        logits[:, 2] = 5.0
        return logits

    monkeypatch.setattr(search_module, "predict", predictions)
    notes = forget(searching(attempts=1), 2, data=searched_data()).notes["search"]
    assert notes["validation_accuracy_before"] == 1.0
    assert [a["accuracy"] for a in notes["attempts"]] == [0.0]
    assert not notes["accepted"]


@pytest.mark.slow
def test_an_absurd_rate_is_searched_down_on_a_real_model(narrow_run: Path) -> None:
    model, data = digits_model(narrow_run)
    method = on_digits("impair.lr=1", "repair.lr=1").model_copy(
        update={"search": SearchSettings(trials=0, attempts=3, factor=0.02, tolerance=0.05)}
    )
    result = unlearn(model, method, data, ForgetRequest(classes=("3",)), seed=0, runtime=CPU)
    attempts = result.notes["search"]["attempts"]
    assert len(attempts) > 1
    assert attempts[0]["accuracy"] < 0.8
    assert attempts[-1]["accuracy"] > attempts[0]["accuracy"]


def test_the_original_is_judged_before_the_notebooks_noise_disturbs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["cnn-grey"].model()
    judged = scripted(monkeypatch, 1.0, 1.0)
    forget(searching().model_copy(update={"quirks": True}), 2, model=model, data=searched_data())
    assert is_weights(model, judged[0])
