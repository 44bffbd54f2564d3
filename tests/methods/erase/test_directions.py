"""The formulas of erase's directions, against cases with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from unlearnkit.methods.erase.directions import (
    ODDS_TRUST,
    combined,
    log_odds,
    mean_difference,
    odds_directions,
    projection,
    reliability,
    shared_directions,
    unit,
    whitened,
    without_shared,
)

C, RETAINED, EACH = 24, 6, 2000


def gaussians(*, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Retained features and labels, the class means (K, C) with the forgotten class last, and the covariance within."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(C, C, generator=generator, dtype=torch.float64) / C**0.5 + torch.eye(C, dtype=torch.float64)
    means = torch.randn(RETAINED + 1, C, generator=generator, dtype=torch.float64)
    labels = torch.arange(RETAINED).repeat(EACH)
    noise = torch.randn(len(labels), C, generator=generator, dtype=torch.float64) @ mixing.T
    return means[labels] + noise, labels, means, mixing @ mixing.T


def true_logits(features: Tensor, means: Tensor, covariance: Tensor) -> Tensor:
    """The log-densities of Gaussian classes, up to what all classes share: what an ideal network gives."""
    slopes = torch.linalg.solve(covariance, means.T)
    return features @ slopes - 0.5 * (means.T * slopes).sum(dim=0)


def test_the_whitened_space_is_that_of_the_covariance_within_the_classes() -> None:
    features, labels, _, _ = gaussians()
    space = whitened(features, labels)
    oracle = LinearDiscriminantAnalysis(store_covariance=True).fit(features.numpy(), labels.numpy())
    assert torch.allclose(space.root @ space.root, torch.from_numpy(oracle.covariance_), rtol=0.02, atol=0.02)
    assert torch.allclose(space.root @ space.inverse, torch.eye(C, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(space.mean, features.mean(dim=0))


def test_the_log_odds_are_those_of_the_softmax_without_the_classes_that_are_gone() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    probabilities = logits.double().softmax(dim=1)
    others = probabilities[:, 0] + probabilities[:, 2]
    assert torch.allclose(log_odds(logits, [1], [1, 3])[:, 0], (probabilities[:, 1] / others).log())


def test_both_estimates_recover_the_direction_of_a_gaussian_class() -> None:
    """With the true log-odds and the true mean of all classes, either estimate finds the difference of means."""
    features, labels, means, covariance = gaussians()
    space = whitened(features, labels)
    truth = unit(space.inverse @ (means[-1] - means[:-1].mean(dim=0)))
    odds = log_odds(true_logits(features, means, covariance), [RETAINED], [RETAINED])
    by_odds = odds_directions(features, odds, space)[:, 0]
    by_mean = unit(mean_difference(means.mean(dim=0), features.mean(dim=0), space))
    assert float(by_odds @ truth) > 0.85
    assert float(by_mean @ truth) > 0.98
    both = combined(by_odds[:, None], by_mean, reliability(features, odds, space))[:, 0]
    assert float(both @ truth) > float(by_odds @ truth)


def test_the_log_odds_estimate_is_exact_where_they_are_linear_in_the_features() -> None:
    """Two classes of equal covariance: log-odds are linear, and their covariance with x is C times the slope."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(500, C, generator=generator, dtype=torch.float64)
    labels, slope = torch.zeros(500, dtype=torch.int64), torch.randn(C, generator=generator, dtype=torch.float64)
    space = whitened(features, labels)
    found = odds_directions(features, (features @ slope)[:, None], space)[:, 0]
    truth = unit(space.root @ slope)  # inverse(C) C slope, as C^-1/2 C = C^1/2
    assert float(found @ truth) > 1 - 1e-3  # C is shrunk a little


def test_weights_follow_the_noise() -> None:
    generator = torch.Generator().manual_seed(2)
    truth, first, second = unit(torch.randn(4000, 3, generator=generator, dtype=torch.float64)).T

    def estimate(cosine: float, noise: Tensor) -> Tensor:
        return cosine * truth + (1 - cosine**2) ** 0.5 * noise

    odds = estimate(ODDS_TRUST, first)[:, None]
    sure = torch.ones(1, dtype=torch.float64)
    for cosine in (0.9, 0.5):
        mean = estimate(cosine, second)
        found = combined(odds, mean, sure)[:, 0] @ truth
        best = max(float(unit(odds[:, 0] + w * mean) @ truth) for w in np.linspace(0, 4, 401))
        assert float(found) == pytest.approx(best, abs=3e-3)
    useless = combined(odds, second, sure)[:, 0]
    assert float(useless @ truth) == pytest.approx(ODDS_TRUST, abs=0.01)
    opposed = combined(odds, -odds[:, 0], sure)[:, 0]
    assert torch.allclose(opposed, unit(odds[:, 0]))


def test_of_several_classes_the_running_mean_corrects_what_their_estimates_share() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = unit(torch.randn(3000, 2, generator=generator, dtype=torch.float64))
    error = unit(torch.randn(3000, 2, generator=generator, dtype=torch.float64))
    odds = unit(0.85 * truth + 0.53 * error)
    found = combined(odds, truth.sum(dim=1), torch.ones(2, dtype=torch.float64))
    before, after = (odds * truth).sum(dim=0), (found * truth).sum(dim=0)
    assert bool((after > before + 0.02).all())


def test_reliability_tells_noise_from_signal() -> None:
    features, labels, means, covariance = gaussians()
    space = whitened(features, labels)
    odds = log_odds(true_logits(features, means, covariance), [RETAINED], [RETAINED])
    noise = torch.randn(len(odds), 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert float(reliability(features, odds, space)) > 0.99
    assert float(reliability(features, noise, space)) < 0.6


def test_the_shared_part_is_left_alone() -> None:
    """After the projection the retained classes' means are where they were; the class's own part is gone."""
    features, labels, means, _ = gaussians()
    space = whitened(features, labels)
    shared = shared_directions(features, labels, space)
    assert shared.shape == (C, RETAINED - 1)
    truth = unit(space.inverse @ (means[-1] - means[:-1].mean(dim=0)))
    basis = without_shared(truth[:, None], shared)
    change = projection(basis, space, 1.0)
    class_means = torch.stack([features[labels == k].mean(dim=0) for k in range(RETAINED)])
    moved = (class_means - space.mean) @ change.T - (class_means - space.mean)
    assert float(moved.abs().max()) < 1e-9
    read_off = basis[:, 0] @ space.inverse  # what a linear discriminant reads along the direction
    assert float(((features - space.mean) @ change.T @ read_off).abs().max()) < 1e-9
    kept = shared @ (shared.T @ truth)
    assert torch.allclose(shared.T @ space.inverse @ (change @ (space.root @ truth)), shared.T @ kept, atol=1e-9)


def test_strength_two_turns_a_direction_round() -> None:
    features, labels, means, _ = gaussians()
    space = whitened(features, labels)
    basis = without_shared(unit(space.inverse @ means[-1])[:, None], shared_directions(features, labels, space))
    pattern = space.root @ basis
    assert torch.allclose(projection(basis, space, 2.0) @ pattern, -pattern, atol=1e-9)
    assert torch.allclose(projection(basis, space, 0.0), torch.eye(C, dtype=torch.float64))


def test_several_classes_are_taken_out_together() -> None:
    features, labels, _, _ = gaussians()
    space, shared = whitened(features, labels), torch.zeros(C, 0, dtype=torch.float64)
    wanted = unit(torch.randn(C, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    basis = without_shared(wanted, shared)
    assert torch.allclose(basis.T @ basis, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert float((projection(basis, space, 1.0) @ space.root @ wanted).abs().max()) < 1e-9
    twice = without_shared(torch.cat([wanted, wanted], dim=1), shared)
    assert twice.shape == (C, 3), "a direction of which nothing is left is dropped"


def test_of_many_retained_classes_the_main_directions_are_shared() -> None:
    """Forty means would fill a space of 24 channels, and nothing would be left to take out."""
    generator = torch.Generator().manual_seed(6)
    labels = torch.arange(40).repeat(50)
    features = torch.randn(40, C, generator=generator)[labels] + torch.randn(len(labels), C, generator=generator)
    shared = shared_directions(features, labels, whitened(features, labels))
    assert shared.shape == (C, C // 4)


def test_the_usual_mistake_is_to_take_out_the_whole_direction() -> None:
    """It holds what the class shares with retained ones, and their means move with it: by a third of their spread."""
    features, labels, means, _ = gaussians()
    space = whitened(features, labels)
    truth = unit(space.inverse @ (means[-1] - means[:-1].mean(dim=0)))[:, None]
    whole = projection(truth, space, 1.0)
    ours = projection(without_shared(truth, shared_directions(features, labels, space)), space, 1.0)
    spread = torch.stack([features[labels == k].mean(dim=0) for k in range(RETAINED)]) - space.mean

    def moved(change: Tensor) -> float:
        return float(((spread @ change.T - spread) @ space.inverse).norm() / (spread @ space.inverse).norm())

    assert moved(whole) > 0.3
    assert moved(ours) < 1e-6
