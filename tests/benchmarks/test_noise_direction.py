"""The benchmark that asks where noise points: images of the class point at it, their mirror images away from it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import erase_shown
from canonical import CPU, learned, tiny_data
from erase_shown import features, passing
from noise_direction import cosine
from unlearnkit.methods.erase.directions import resemblance


def test_a_cosine_is_that_of_what_lies_outside_of_the_retained_means() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.0, 0, 0, 0], [3, 0, 0, 0], [0, 3, 0, 0], [1, 1, 5, 0]])
    labels = torch.arange(3).repeat(3000)
    retained = means[labels] + torch.randn(9000, 4, generator=generator)
    first, other = (means[3] + torch.randn(4000, 4, generator=generator) for _ in range(2))
    looks = resemblance(retained, means, [3], [3])
    held = partial(cosine, retained, labels, looks, first)
    assert held(other) > 0.99
    assert held(2 * retained.mean(dim=0) - other) < -0.99
    shifted = retained + torch.tensor([0.0, 0, 0, 2])
    assert abs(held(shifted)) < 0.05
    assert abs(held(means[0] + torch.tensor([40.0, -40, 5, 0]) + 0 * other) - 1) < 0.05, (
        "what lies along retained means"
    )
    assert -1 <= held(None) <= 1


def test_features_of_given_images_are_those_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erase_shown, "SHAPE", (1, 8, 8))
    model, data = learned(), tiny_data()
    data.fix_shape(0)
    rows = torch.arange(7)
    images = data.normalise(data.train.images(rows, CPU.device))
    expected = features(model, data, "train", rows)
    found = passing(model, partial(model, images))
    assert list(found) == list(expected)
    assert len(found) > 1
    for layer, values in found.items():
        torch.testing.assert_close(values, expected[layer])
