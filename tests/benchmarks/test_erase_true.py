"""The benchmark that knows the forgotten class: what it takes for the truth is true, and looking on changes nothing."""

from __future__ import annotations

import pytest
import torch

import erase_true
from canonical import CLASSES, CPU, learned, new_cnn, tiny_data
from contract_runs import assert_same_tensors
from unlearnkit import Erase, ForgetRequest
from unlearnkit.methods import unlearn
from unlearnkit.methods.erase.directions import resemblance

DOG = ForgetRequest(classes=(CLASSES[-1],))
BRIEF = ["retain_per_class=60", "level=0"]


def test_the_true_direction_is_what_the_class_has_beyond_the_retained_means() -> None:
    """Three retained means in one plane, noise of one size: the class lies 5 deviations along the third axis."""
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.0, 0, 0, 0], [3, 0, 0, 0], [0, 3, 0, 0], [1, 1, 5, 0]])
    labels = torch.arange(3).repeat(3000)
    retained = means[labels] + torch.randn(9000, 4, generator=generator)
    forgotten = means[3] + torch.randn(4000, 4, generator=generator)
    looks = resemblance(retained, means, [3], [3])
    estimate, truth, distance = erase_true.true_direction(retained, labels, looks, forgotten)
    assert abs(float(truth[2])) > 0.99
    assert distance == pytest.approx(5, abs=0.25)
    assert float(estimate.norm()) == pytest.approx(1)


def test_watching_changes_nothing_and_following_the_truth_does(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data(per_class=100)
    data.fix_shape(0)
    own = (data.train.labels == len(CLASSES) - 1).nonzero()[:, 0]
    monkeypatch.setitem(erase_true.NETWORKS, "tiny", lambda: new_cnn(1))
    monkeypatch.setattr(erase_true, "IMAGES", [data.normalise(data.train.images(own, CPU.device))])
    model, plain = learned(), Erase().with_settings(BRIEF)
    watched = erase_true.Watched(network="tiny").with_settings(BRIEF)
    following = erase_true.Watched(network="tiny", follow=True).with_settings(BRIEF)
    as_it_is, seen, followed = (
        unlearn(model, method, tiny_data(per_class=100), DOG, seed=3, runtime=CPU)
        for method in (plain, watched, following)
    )
    assert_same_tensors(as_it_is.model.state_dict(), seen.model.state_dict())
    changed = [k for k, v in followed.model.state_dict().items() if not torch.equal(v, seen.model.state_dict()[k])]
    assert changed
    layers = [note["layer"] for note in seen.notes["erase"]["layers"][:-1]]
    assert [note["layer"] for note in seen.notes["true"]] == layers
    assert -1 <= seen.notes["at_the_head"] <= 1
    assert all(note["distance"] >= 0 and -1 <= note["cosine"] <= 1 for note in seen.notes["true"])
