"""Methods that train on features or on target distributions, each held to the point where the usual mistake shows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU, MODELS, tiny_data
from unlearnkit.errors import ModelError
from unlearnkit.methods import METHODS, unlearn
from unlearnkit.methods.boundary_expand import Shadowed
from unlearnkit.methods.cmf import mean_rows
from unlearnkit.methods.cola import contrastive
from unlearnkit.methods.common.head_inputs import class_means
from unlearnkit.methods.lotus import smoothed, temperature
from unlearnkit.methods.scar import Clusters
from unlearnkit.methods.trew import similarities, tilted
from unlearnkit.request import ForgetRequest


def run(name: str, *settings: str) -> tuple[nn.Module, nn.Module]:
    """A network before and after a run on the tiny data, class 2 forgotten."""
    before = MODELS["cnn-grey"].model()
    method = METHODS[name]().with_settings([*settings, "recipe.batch_size=8"])
    return before, unlearn(before, method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU).model


def test_boundary_expand_drops_the_shadow_and_shows_it_as_one_more_logit_until_then() -> None:
    """Usual mistake: the shadow takes an old class's place, or stays in the model."""
    model = MODELS["cnn-grey"].model()
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        both = Shadowed(model, "head").eval()(images)
        torch.testing.assert_close(both[:, :4], model(images))
    assert both.shape == (3, 5)
    before, after = run("boundary-expand", "recipe.lr=0.05")
    assert after.state_dict().keys() == before.state_dict().keys()
    images = torch.full((1, 1, 8, 8), 0.5)
    with torch.no_grad():
        assert not torch.equal(before(images), after(images))


def test_head_distillation_leaves_every_feature_bit_equal() -> None:
    """Usual mistake: BatchNorm in train mode, whose statistics move though its weights are frozen."""
    before, after = run("head-distillation", "recipe.epochs=1")
    moved = {key for key, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[key])}
    assert moved == {"head.weight", "head.bias"}
    assert METHODS["head-distillation"].control
    frozen = MODELS["cnn-grey"].model()
    frozen.head.requires_grad_(False)  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="choose delete"):
        unlearn(frozen, METHODS["head-distillation"](), tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU)


def test_scar_measures_each_class_by_its_own_spread() -> None:
    """Usual mistake: the nearest mean by plain distance, or covariances that are not inverted."""
    noise = torch.randn(2, 400, 3, generator=torch.Generator().manual_seed(0))
    narrow = torch.tensor([1.0, 0.0, 0.0]) + 0.03 * noise[0]
    tied = torch.tensor([0.0, 0.0, 1.0]) + 0.03 * noise[1]
    tied[:, :2] += 0.1 * noise[0][:, 2:]  # two of its features move together
    clusters = Clusters([narrow, tied], 1e-9)
    nearest = clusters.distances(torch.tensor([[1.0, 0.02, 0.0], [0.02, 0.0, 1.0]])).argmin(dim=1)
    assert nearest.tolist() == [0, 1]
    along, across = torch.tensor([[0.1, 0.1, 1.0]]), torch.tensor([[0.1, -0.1, 1.0]])
    distances = clusters.distances(torch.cat([along, across]))[:, 1]
    assert distances[0] * 3 < distances[1]  # equally far, but only one of them is a way in which the class spreads


def test_lotus_smooths_forget_rows_and_sharpens_retained_ones_by_the_right_sign_of_the_temperature() -> None:
    """Usual mistake: exp(alpha (unseen - known)), which sharpens what is still known; noise shared by all rows."""
    assert temperature(1.0, 2.0) == pytest.approx(math.exp(2))
    assert temperature(0.0, 2.0) == 1.0
    logits = torch.tensor([[8.0, 0.0, 0.0]]).repeat(4000, 1)
    hot, cold = (smoothed(logits, 2000, t, torch.Generator().manual_seed(0)) for t in (8.0, 1.0))
    assert float(hot[:2000, 0].mean()) < 0.7 < 0.99 < float(cold[:2000, 0].mean())
    assert set(hot[2000:].flatten().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(hot.sum(dim=1), torch.ones(4000))
    assert len(hot[:2000, 0].unique()) > 1900


def test_trew_gives_forgotten_classes_nothing_and_similar_ones_more_than_renormalising_does() -> None:
    """Usual mistake: plain renormalisation, the similarity's sign, or the class itself left in."""
    rows = torch.tensor([[1.0, 0.0], [0.9, 0.2], [-1.0, 0.1], [0.0, -1.0]])
    similar = similarities(rows)
    assert similar[0, 1] > similar[0, 3] > similar[0, 2]
    logits = torch.tensor([[5.0, 1.0, 1.0, 0.0]])
    plain, found = (tilted(logits, similar[:1], (0, 3), beta) for beta in (0.0, 2.0))
    assert plain.tolist() == [[0.0, 0.5, 0.5, 0.0]]
    assert found[0, [0, 3]].tolist() == [0.0, 0.0]
    ratio = float((found[0, 1] / found[0, 2]).log())
    assert ratio == pytest.approx(2 * float(similar[0, 1] - similar[0, 2]), rel=1e-4)


def test_cmf_ends_with_the_head_at_the_means_of_the_final_features() -> None:
    """Usual mistake: the head is set once, and the features then leave it."""
    _, after = run("cmf", "recipe.epochs=2")
    rows = after.head.weight  # type: ignore[union-attr]
    assert not after.head.bias.any()  # type: ignore[union-attr]
    lengths = rows.norm(dim=1)
    torch.testing.assert_close(lengths, lengths.mean().expand(4))
    means = class_means(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0, 1]), 2)
    assert means.tolist() == [[2.0, 0.0], [0.0, 2.0]]
    torch.testing.assert_close(mean_rows(means, 2.0), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) * math.sqrt(2))


def test_cola_pulls_own_classes_together_as_a_loop_over_pairs_says() -> None:
    """Usual mistake: an image counts as its own pair, or the logarithm is taken of the mean."""
    generator = torch.Generator().manual_seed(0)
    features, labels, t = torch.randn(6, 3, generator=generator), torch.tensor([0, 0, 0, 1, 1, 2]), 0.5
    unit = features / features.norm(dim=1, keepdim=True)

    def one(i: int) -> Tensor:
        others = [a for a in range(6) if a != i]
        below = sum((unit[i] @ unit[a] / t).exp() for a in others)
        pairs = [p for p in others if labels[p] == labels[i]]
        return -sum(((unit[i] @ unit[p] / t).exp() / below).log() for p in pairs) / len(pairs)

    wanted = sum(one(i) for i in range(5)) / 5  # the last has no pair
    found = contrastive(t)(features, features, features, labels)
    torch.testing.assert_close(found, wanted)
    lonely = features[3:].requires_grad_(True)
    alone = contrastive(t)(lonely, lonely, lonely, torch.tensor([0, 1, 2]))
    alone.backward()
    assert float(alone.detach()) == 0.0
    assert lonely.grad.isfinite().all()
