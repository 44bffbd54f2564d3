"""The safeguard after a run: its bound against a numerical oracle, its four answers, what it reads, what it costs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial
from torch import Tensor, nn

import unlearnkit.methods.masked_original as original_module
import unlearnkit.methods.safeguard as safeguard_module
from canonical import CPU, MODELS, tiny_data
from unlearnkit.audit.doubts import Doubt
from unlearnkit.errors import ConfigError
from unlearnkit.methods import Context, Unlearned, unlearn
from unlearnkit.methods.masked_original import known_by_heart
from unlearnkit.methods.safeguard import ONE_SIDED_95, largest_loss
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part


def by_likelihood(lost: int, won: int, n: int) -> float:
    """The same bound without the closed form: the likelihood is maximised under each difference, which is halved in."""

    def statistic(difference: float) -> float:
        def unlikely(q: float) -> float:
            cells = zip((lost, won, n - lost - won), (q + difference, q, 1 - 2 * q - difference), strict=True)
            return -sum(count * math.log(max(share, 1e-300)) for count, share in cells)

        low, high = max(0.0, -difference), (1 - difference) / 2
        found = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        q = min((found, low, high), key=unlikely)
        return (lost - won - n * difference) / math.sqrt(max(1e-12, n * (2 * q + difference - difference**2)))

    low, high = (lost - won) / n + 1e-9, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if statistic(middle) > -ONE_SIDED_95 else (low, middle)
    return low


@pytest.mark.parametrize(
    ("lost", "won", "n"), [(0, 0, 100), (5, 1, 100), (4, 0, 70), (0, 4, 70), (0, 100, 100), (30, 12, 200), (69, 0, 70)]
)
def test_the_bound_is_that_of_the_likelihood(lost: int, won: int, n: int) -> None:
    assert largest_loss(lost, won, n) == pytest.approx(by_likelihood(lost, won, n), abs=1e-6)


def test_where_all_is_lost_the_bound_is_one() -> None:
    assert largest_loss(7, 0, 7) == 1.0


@pytest.mark.parametrize(("lost", "won"), [(0.06, 0.02), (0.15, 0.05)])
def test_the_bound_covers_the_true_loss_in_at_least_about_19_of_20_samples(lost: float, won: float) -> None:
    """Exact, over every sample of 40."""
    n, covered = 40, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            chance = multinomial.pmf([b, c, n - b - c], n, [lost, won, 1 - lost - won])
            if chance > 1e-7 and largest_loss(b, c, n) >= lost - won:
                covered += float(chance)
    assert covered > 0.93


VALIDATION = 300  # images in the data below, a hundred of each retained class


class Nothing:
    """A method that reads nothing and changes one weight, so that it costs nothing."""

    needs: frozenset[Part] = frozenset()

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        return model


def guarded(
    monkeypatch: pytest.MonkeyPatch, before: float, after: float, test: float = 5.0, **options: Any
) -> Unlearned:
    """A run before and after which these shares of the validation samples are right.

    `test` is the margin with which the original is right about test samples; about other samples it is 5.
    """

    def answers(model: nn.Module, samples: Any, share: float) -> Tensor:
        samples.images(torch.arange(len(samples)))  # it is counted
        shown = samples.labels.clone()
        wrong = round(share * len(samples))
        shown[wrong:] = torch.where(shown[wrong:] == 0, 1, 0)
        margin = test if samples._part is Part.RETAIN_TEST else 5.0
        return torch.nn.functional.one_hot(shown, 4).float() * margin

    monkeypatch.setattr(original_module, "predict", lambda model, samples, runtime: answers(model, samples, before))
    monkeypatch.setattr(safeguard_module, "predict", lambda model, samples, runtime: answers(model, samples, after))
    model, data = MODELS["cnn-grey"].model(), tiny_data(per_class=2000)
    return unlearn(model, Nothing(), data, ForgetRequest(classes=("cat",)), seed=0, runtime=CPU, **options)


@pytest.mark.parametrize(
    ("after", "test", "code"),
    [
        (1.0, 5.0, "kept"),
        (0.99, 5.0, "open"),  # 3 of 300 lost: up to 2.4 %
        (0.90, 5.0, "lost"),
        (0.90, 1.0, "by_heart"),  # test samples are known less well than these, and training samples as well
    ],
)
def test_what_the_samples_show_is_in_the_notes(
    monkeypatch: pytest.MonkeyPatch, after: float, test: float, code: str
) -> None:
    found = guarded(monkeypatch, 1.0, after, test).notes["safeguard"]
    assert found["code"] == f"retained_accuracy_{code}"
    assert Doubt(found["code"], found["values"])  # a doubt with a sentence in every language
    lost = round((1 - after) * VALIDATION)
    bound = largest_loss(lost, 0, VALIDATION) if code in ("kept", "open") else -largest_loss(0, lost, VALIDATION)
    assert found["values"] == pytest.approx(
        {"before": 1.0, "after": after, "n": VALIDATION, "bound": bound, "tolerance": 0.02}
    )


def test_the_reads_are_the_safeguards_and_of_retained_samples_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    result = guarded(monkeypatch, 1.0, 0.9)
    parts: Any = result.access.summary(result.split)["parts"]
    read = {name: sum(c.get("read_by_safeguard", 0) for c in classes.values()) for name, classes in parts.items()}
    assert read.pop("retain_val") == read.pop("retain_train") == VALIDATION
    assert read.pop("retain_test") > 0
    assert not any(read.values())
    assert not any(counts["read_by_method"] for classes in parts.values() for counts in classes.values())


def test_nothing_of_it_is_the_methods_cost() -> None:
    model, data, request = MODELS["cnn-grey"].model(), tiny_data(per_class=100), ForgetRequest(classes=("cat",))
    result = unlearn(model, Nothing(), data, request, seed=0, runtime=CPU)
    assert result.notes["safeguard"]["values"]["n"] == 15
    assert (result.cost["total"]["samples_forward"], result.cost["stages"]) == (0, {})


def test_nobody_looks_where_there_is_no_tolerance_or_no_validation_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "safeguard" not in guarded(monkeypatch, 1.0, 1.0, tolerance=None).notes
    model, alone = MODELS["cnn-grey"].model(), tiny_data(per_class=1)
    result = unlearn(model, Nothing(), alone, ForgetRequest(classes=("cat",)), seed=0, runtime=CPU)
    assert "safeguard" not in result.notes


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_a_tolerance_is_a_fraction(monkeypatch: pytest.MonkeyPatch, tolerance: float) -> None:
    with pytest.raises(ConfigError, match="from 0 to below 1"):
        guarded(monkeypatch, 1.0, 1.0, tolerance=tolerance)


def test_samples_known_no_better_than_others_are_not_known_by_heart() -> None:
    losses = torch.linspace(0, 1, 50)
    assert known_by_heart(losses, losses, losses + 0.5)
    assert not known_by_heart(losses, losses, losses)  # nothing is learned by heart
    assert not known_by_heart(losses, losses - 0.5, losses)
    assert not known_by_heart(losses, losses - 0.5, losses + 0.5)  # test samples that are harder
