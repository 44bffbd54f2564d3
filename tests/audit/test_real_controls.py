"""Controls on CIFAR-10: what must fail fails, and a retrained model does not; skipped where the images are absent.

The networks in `weights/cifar10` are `airbench,width=16`, trained for 5 epochs as the bank's are (seeds 1009, 1000 to
1002, and 1010 for the fresh one) and stored in half precision.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from canonical import CPU
from real_data import folder
from remembered import fits
from unlearnkit import ForgetRequest
from unlearnkit.audit import METRICS, Audit, audit, gather
from unlearnkit.audit.bank import bank_for
from unlearnkit.audit.evidence import Evidence
from unlearnkit.data import ImageData
from unlearnkit.models import AirbenchNet
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.split import split_for
from unlearnkit.steps.opening import load_images

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("real controls")]  # one process looks at the retrained models
MODEL = "airbench,width=16"
WEIGHTS = Path(__file__).parents[1] / "weights" / "cifar10"
REQUEST = ForgetRequest(classes=("airplane",))
VOTES = ("accuracy", "prediction_distribution", "output_agreement", "class_membership", "class_recovery")
IMAGES = 2000


def network(name: str) -> nn.Module:
    model = AirbenchNet(10, width=16)
    read_checkpoint(WEIGHTS / f"{name}.safetensors").load_into(model)
    return model.eval()


class Judge:
    """Holds models against the same original and three retrained ones."""

    def __init__(self, data: ImageData) -> None:
        self.data = data
        self.split = split_for(REQUEST, data)
        self.models = {"original": network("original"), "retrained": [network(f"retrained-{i}") for i in range(3)]}
        bank = bank_for(data.source, data.classes, MODEL, ("airplane",))
        assert bank is not None
        self.priors = bank.priors
        self.shared: Evidence | None = None

    def __call__(self, unlearned: nn.Module) -> Audit:
        metrics = {name: METRICS[name] for name in VOTES}
        evidence = gather(
            {**self.models, "unlearned": unlearned},
            self.data,
            self.split,
            metrics=metrics.values(),
            seed=0,
            runtime=CPU,
            images=IMAGES,
            earlier=self.shared,
        )
        self.shared = replace(evidence, subjects=tuple(s for s in evidence.subjects if s.name != "unlearned"))
        with fits():
            return audit(evidence, metrics, priors=self.priors)


@pytest.fixture(scope="module")
def judge() -> Judge:
    source = folder("cifar10")
    return Judge(load_images(source, read_checkpoint(WEIGHTS / "original.safetensors")))


def forgotten(result: Audit) -> dict[str, str | None]:
    """Verdicts on the forgotten class, and on retained accuracy under its own name."""
    named = [r for r in result.readings if r.model == "unlearned" and r.verdict]
    return {"retained" if r.part == "retain_test" else r.metric: r.verdict for r in named}


def test_the_original_fails(judge: Judge) -> None:
    result = judge(network("original"))
    assert result.verdict.status == "fail"
    said = forgotten(result)
    assert said["accuracy"] == said["prediction_tv"] == said["probe_recovery"] == "fail"


def test_a_retrained_network_with_another_seed_passes(judge: Judge) -> None:
    result = judge(network("fresh"))
    assert result.verdict.status == "pass", result.verdict
    assert {"accuracy", "outputs", "representation"} <= set(result.verdict.families_passed)


def test_a_mask_of_the_outputs_has_perfect_accuracy_and_fails_on_representation(judge: Judge) -> None:
    model = network("original")
    head = nn.Linear(64, 10)
    with torch.no_grad():
        head.weight.copy_(model.head.weight)  # type: ignore[arg-type, union-attr]
        head.weight[0] = 0.0
        head.bias.copy_(torch.tensor([-1e4, *[0.0] * 9]))
    model.head = head
    result = judge(model)
    said = forgotten(result)
    assert said["accuracy"] == said["retained"] == "pass"
    assert said["probe_recovery"] == "fail"
    assert result.verdict.status == "fail"


def test_new_weights_fail_on_retained_accuracy(judge: Judge) -> None:
    torch.manual_seed(0)
    assert forgotten(judge(AirbenchNet(10, width=16).eval()))["retained"] == "fail"
