"""Hostile controls on digits: networks that keep the original whole look as if they had forgotten, and fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import hostile_networks as hostile
from digits_controls import FORGOTTEN, WITHOUT_TRAINING, Judge
from hostile_networks import Insider
from unlearnkit.audit import METRICS
from unlearnkit.models.head import features

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("controls")]  # one process trains the five models
LAYERS = ("features.2", "features.3", "features.6")  # that an audit of a SmallCNN looks at
DEPTH = "depth_recovery/forget_test"
# a name, its maker, whether its weights alone hold it, and the reading that catches it
CONTROLS: dict[str, tuple[Callable[[Insider], nn.Module], str]] = {
    "head mask": (hostile.head_mask, "prototype_recovery/forget_test"),
    "head distillation": (hostile.head_distillation, "prototype_recovery/forget_test"),
    "stash": (hostile.stash, "prototype_recovery/forget_test"),
    "gate": (hostile.gate, DEPTH),
    "span": (lambda known: hostile.span(known, 0), DEPTH),
    "span and 8 directions": (lambda known: hostile.span(known, 8), "prototype_recovery/forget_test"),
    "scramble": (hostile.scramble, DEPTH),
    "features x1000": (
        lambda known: hostile.rescaled(hostile.head_distillation(known)),
        "prototype_recovery/forget_test",
    ),
    "poisoned statistics": (hostile.poisoned_statistics, "return_recovery/forget_test"),
    "weights x100": (
        lambda known: hostile.prescaled(hostile.head_distillation(known)),
        "prototype_recovery/forget_test",
    ),
    "overflowing channel": (lambda known: hostile.overflowing(hostile.head_distillation(known)), DEPTH),
    "collapsed to means": (hostile.collapsed, DEPTH),
    "carrier": (lambda known: hostile.carrier(known, LAYERS, 0), DEPTH),
}


@pytest.fixture(scope="module")
def known(digits_judge: Judge) -> Insider:
    return digits_judge.insider()


@pytest.mark.parametrize("name", CONTROLS)
def test_a_network_that_keeps_the_original_whole_fails(name: str, digits_judge: Judge, known: Insider) -> None:
    make, reading = CONTROLS[name]
    model = make(known)
    parameters = {key: value.shape for key, value in known.original.named_parameters()}
    assert {key: value.shape for key, value in model.named_parameters()} == parameters
    metrics = WITHOUT_TRAINING | {key: METRICS[key] for key in ("return_recovery",) if reading.startswith(key)}
    result = digits_judge(model, metrics)
    said = {f"{r.metric}/{r.part}": r.verdict for r in result.readings if r.model == "unlearned" and r.verdict}
    # it would pass for a network that forgot, if answers were all that is asked
    assert said["accuracy/retain_test"] == said["accuracy/forget_test"] == "pass"
    assert said[reading] == "fail"
    assert result.verdict.status == "fail"


def test_what_changes_between_layers_leaves_the_weights_before_the_head(known: Insider) -> None:
    for make in (hostile.gate, hostile.scramble, hostile.collapsed, hostile.head_distillation):
        theirs = dict(make(known).named_parameters())
        for key, value in known.original.named_parameters():
            assert key.startswith("head.") or torch.equal(value, theirs[key]), key


def test_weights_that_are_multiplied_compute_the_same(known: Insider) -> None:
    images = known.images[:50]
    with torch.no_grad():
        expected = known.original(images)
        torch.testing.assert_close(hostile.prescaled(known.original)(images), expected, rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(hostile.rescaled(known.original)(images), expected, rtol=1e-3, atol=1e-3)


def test_the_carrier_gives_every_layer_a_sign_and_the_head_what_the_scramble_gives(known: Insider) -> None:
    images, carried = known.images[:200], hostile.carrier(known, LAYERS, 0)
    maps: dict[str, torch.Tensor] = {}
    carried.get_submodule("features.2").register_forward_hook(
        lambda _module, _args, output: maps.update({"features.2": output})
    )
    torch.testing.assert_close(features(carried, images, "head"), features(hostile.scramble(known), images, "head"))
    signs = maps["features.2"].mean(dim=(1, 2, 3)).sign()  # after ReLU everything is positive, but for the sign
    assert 0.3 < float((signs > 0).float().mean()) < 0.7


def test_poisoned_statistics_estimated_anew_bring_everything_back(known: Insider) -> None:
    model = hostile.poisoned_statistics(known)
    gone = torch.isin(known.labels, torch.tensor(FORGOTTEN))
    with torch.no_grad():
        hidden = model(known.images[gone]).argmax(dim=1)
        model.train()
        back = model(known.images[torch.randperm(len(gone), generator=torch.Generator().manual_seed(0))])
    assert float((hidden == known.labels[gone]).float().mean()) < 0.05
    assert float(torch.isin(back.argmax(dim=1), torch.tensor(FORGOTTEN)).float().mean()) > 0.3
