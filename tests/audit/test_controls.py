"""Controls that keep the audit honest, on digits: what must fail fails, and a retrained model does not."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonical import CPU
from unlearnkit import ForgetRequest
from unlearnkit.audit import METRICS, Audit, audit, gather
from unlearnkit.audit.bank import bank_for, banks
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metrics.registry import PRIMARY, PRIMARY_METRICS
from unlearnkit.audit.observe.relearning import CAP
from unlearnkit.audit.verdict import Scale
from unlearnkit.data.sources.registry import load_data
from unlearnkit.methods import HeadMask, unlearn
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.split import split_for
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

pytestmark = pytest.mark.xdist_group("controls")  # one process trains the five models
# a network that never saw half of the digits has not the features to tell them by; where one is left out, it has
FORGOTTEN = (1, 3, 5, 7, 9)
REQUEST = ForgetRequest(classes=FORGOTTEN)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[nn.Module]:
    """The original, three retrained models, and a fourth one with another seed."""
    models = []
    for seed in range(5):
        out = tmp_path_factory.mktemp("trained") / str(seed)
        exclude = [str(k) for k in FORGOTTEN] if seed else []
        train_run(
            TrainSpec(model="small-cnn", data="digits", exclude=exclude), Output(out), seed=20 + seed, runtime=CPU
        )
        model = SmallCNN(10, 1)
        read_checkpoint(out / WEIGHTS).load_into(model)
        models.append(model.eval())
    return models


VOTING = {name: METRICS[name] for name in PRIMARY_METRICS}  # the verdict rests on these alone


class Judge:
    """Holds models against the same original and three retrained ones, which are looked at once."""

    def __init__(self, trained: list[nn.Module]) -> None:
        self._models = {"original": trained[0], "retrained": trained[1:4]}
        self._data = load_data("digits")
        self._split = split_for(REQUEST, self._data)
        self._known: Evidence | None = None
        bank = bank_for("digits", self._data.classes, "small-cnn", REQUEST.resolve(self._data.classes).forget_names)
        assert bank is not None
        self._priors = bank.priors

    def __call__(self, unlearned: nn.Module) -> Audit:
        evidence = gather(
            {**self._models, "unlearned": unlearned},
            self._data,
            self._split,
            metrics=VOTING.values(),
            seed=0,
            runtime=CPU,
            earlier=self._known,
        )
        self._known = replace(evidence, subjects=tuple(s for s in evidence.subjects if s.name != "unlearned"))
        return audit(evidence, VOTING, priors=self._priors)


@pytest.fixture(scope="module")
def judged(trained: list[nn.Module]) -> Judge:
    return Judge(trained)


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
    result = judged(masked(trained[0]))
    said = verdicts(result)
    assert said["accuracy/forget_test"] == said["accuracy/retain_test"] == "pass"
    assert said["probe_recovery/forget_test"] == "fail"
    assert result.verdict.status == "fail"


@pytest.mark.slow
def test_new_weights_fail_on_retained_accuracy(judged: Judge) -> None:
    torch.manual_seed(0)
    result = judged(SmallCNN(10, 1).eval())
    assert result.verdict.status == "fail"
    assert verdicts(result)["accuracy/retain_test"] == "fail"


@pytest.mark.slow
def test_one_fixed_wrong_class_fails_on_the_distribution_of_predictions(
    judged: Judge, trained: list[nn.Module]
) -> None:
    model = OneWrongClass(10, 1).eval()
    model.load_state_dict(trained[0].state_dict())
    result = judged(model)
    assert verdicts(result)["prediction_tv/forget_test"] == "fail"
    assert result.verdict.status == "fail"


@pytest.mark.slow
def test_every_reading_that_is_voted_on_is_measured(passed: Audit) -> None:
    result = passed
    assert len(verdicts(result)) == 8
    unresolved = [r for r in result.readings if r.model == "unlearned" and r.verdict == "unknown"]
    assert all(r.doubts[-1].code == "unresolved" for r in unresolved)


def test_a_setting_without_a_bank_of_its_own_has_none() -> None:
    digits = load_data("digits").classes
    assert bank_for("digits", digits, "torchvision:resnet18", ("3",)) is None
    assert bank_for("digits", digits, "small-cnn,width=16", ("3",)) is None
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
            spread = np.std([scale.to(value) for value in cut], ddof=1)
            assert bank.priors[primary.key] == pytest.approx(spread, rel=1e-9, abs=1e-12)


def test_every_bank_holds_the_spread_of_every_primary_reading() -> None:
    found = banks()
    assert {"digits", "digits-odd"} <= {bank.name for bank in found}
    for bank in found:
        assert bank.models >= 9
        assert set(bank.priors) == {primary.key for primary in PRIMARY}
        assert all(prior >= 0 for prior in bank.priors.values())
