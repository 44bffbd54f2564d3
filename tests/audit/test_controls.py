"""Controls that keep the audit honest, on digits: what must fail fails, and a retrained model does not."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonical import CPU
from digits_controls import FORGOTTEN, REQUEST, WITHOUT_TRAINING, Judge
from unlearnkit.audit import Audit
from unlearnkit.audit.bank import OWN_DEGREES, bank_for, banks, smallest_spread
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.observe.relearning import CAP
from unlearnkit.audit.verdict import Scale
from unlearnkit.data.sources.registry import load_data
from unlearnkit.methods import HeadMask, unlearn
from unlearnkit.models import SmallCNN

pytestmark = pytest.mark.xdist_group("controls")  # one process trains the five models


@pytest.fixture(scope="module")
def trained(judged: Judge) -> list[nn.Module]:
    return judged.trained


@pytest.fixture(scope="module")
def judged(digits_judge: Judge) -> Judge:
    return digits_judge


@pytest.fixture(scope="module")
def passed(judged: Judge, trained: list[nn.Module]) -> Audit:
    """The audit of a retrained model with another seed."""
    return judged(trained[4])


def verdicts(result: Audit) -> dict[str, str | None]:
    return {f"{r.metric}/{r.part}": r.verdict for r in result.readings if r.model == "unlearned" and r.verdict}


def masked(model: nn.Module) -> nn.Module:
    """The original with the forgotten output switched off: nothing else is touched."""
    return unlearn(model, HeadMask(), load_data("digits"), REQUEST, seed=0, runtime=CPU).model


class OneWrongClass(SmallCNN):
    """Answers what it would take for the forgotten class with one fixed other class."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        answer = 10.0 * F.one_hot(torch.tensor(8), 10).to(logits.dtype)
        return torch.where(torch.isin(logits.argmax(dim=1), torch.tensor(FORGOTTEN))[:, None], answer, logits)


@pytest.mark.slow
def test_the_original_fails(judged: Judge, trained: list[nn.Module]) -> None:
    result = judged(trained[0])
    assert result.verdict.status == "fail"
    said = verdicts(result)
    for key in ("accuracy/forget_test", "prediction_tv/forget_test", "probe_recovery/forget_test"):
        assert said[key] == "fail", key
    assert not {"outputs", "representation"} & set(result.verdict.families_passed)


@pytest.mark.slow
def test_a_retrained_model_with_another_seed_passes(passed: Audit) -> None:
    result = passed
    assert result.verdict.status == "pass", result.verdict
    assert {"accuracy", "outputs", "representation"} <= set(result.verdict.families_passed)


@pytest.mark.slow
def test_a_mask_of_the_outputs_fails_on_representation_although_its_accuracy_is_perfect(
    judged: Judge,
    trained: list[nn.Module],
) -> None:
    result = judged(masked(trained[0]), WITHOUT_TRAINING)
    said = verdicts(result)
    assert said["accuracy/forget_test"] == said["accuracy/retain_test"] == "pass"
    assert said["probe_recovery/forget_test"] == "fail"
    assert result.verdict.status == "fail"


@pytest.mark.slow
def test_new_weights_fail_on_retained_accuracy(judged: Judge) -> None:
    torch.manual_seed(0)
    result = judged(SmallCNN(10, 1).eval(), WITHOUT_TRAINING)
    assert result.verdict.status == "fail"
    assert verdicts(result)["accuracy/retain_test"] == "fail"


@pytest.mark.slow
def test_one_fixed_wrong_class_fails_on_the_distribution_of_predictions(
    judged: Judge, trained: list[nn.Module]
) -> None:
    model = OneWrongClass(10, 1).eval()
    model.load_state_dict(trained[0].state_dict())
    result = judged(model, WITHOUT_TRAINING)
    assert verdicts(result)["prediction_tv/forget_test"] == "fail"
    assert result.verdict.status == "fail"


@pytest.mark.slow
def test_every_reading_that_is_voted_on_is_measured(passed: Audit) -> None:
    result = passed
    assert len(verdicts(result)) == len(PRIMARY)
    unresolved = [r for r in result.readings if r.model == "unlearned" and r.verdict == "unknown"]
    assert all(r.doubts[-1].code == "unresolved" for r in unresolved)


def test_a_setting_without_a_bank_of_its_own_has_none() -> None:
    digits = load_data("digits").classes
    assert bank_for("digits", digits, "torchvision:resnet18", ("3",)) is None
    assert bank_for("digits", digits, "small-cnn,width=24", ("3",)) is None
    assert bank_for("digits", ("cat", "dog"), "small-cnn", ("cat",)) is None
    assert bank_for("imagefolder:numbers", digits, "small-cnn", ("3",)) is None  # MNIST, say
    named = bank_for("digits", digits, "small-cnn", ("7",))
    assert named is not None
    assert (named.name, named.forget) == ("digits", ("3",))


def test_the_spread_of_a_bank_follows_from_its_values_as_an_audit_cuts_them_off() -> None:
    folder = resources.files("unlearnkit.audit") / "banks"
    for bank in banks():
        content = json.loads((folder / f"{bank.name}.json").read_text(encoding="utf-8"))["readings"]
        for primary in PRIMARY:
            values, samples = (content[primary.key][key] for key in ("values", "samples"))
            scale = Scale(kind=primary.scale, samples=samples)
            cut = [min(value, CAP) if primary.scale == "time" else value for value in values]
            assert len(cut) == bank.models
            least = smallest_spread(primary, values, samples)
            own = primary.widened(bank.models) * float(np.std([scale.to(value) for value in cut], ddof=1))
            spread = max(own, least)
            prior = bank.priors[primary.key]
            assert (prior.spread, prior.degrees) == (pytest.approx(spread, rel=1e-9), OWN_DEGREES)


def test_every_bank_holds_the_spread_of_every_primary_reading() -> None:
    found = banks()
    assert {"digits", "digits-odd"} <= {bank.name for bank in found}
    for bank in found:
        assert bank.models >= 9
        assert set(bank.priors) == {primary.key for primary in PRIMARY}
        assert all(prior.spread > 0 for prior in bank.priors.values())
