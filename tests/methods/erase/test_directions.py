"""The formulas of erase's directions, against cases with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from unlearnkit.methods.erase.directions import (
    BATCH,
    ROW_TRUST,
    carried_difference,
    combined,
    mean_difference,
    mean_noise,
    mean_trust,
    projection,
    reliability,
    resemblance,
    row_directions,
    shared_directions,
    unit,
    whitened,
    without_shared,
)

C, RETAINED, EACH = 24, 6, 2000
UNKNOWN = 1e-6  # trust in a running mean of which the noise tells next to nothing


def gaussians(*, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Retained features and labels, the class means (K, C) with the forgotten class last, and the covariance within."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(C, C, generator=generator, dtype=torch.float64) / C**0.5 + torch.eye(C, dtype=torch.float64)
    means = torch.randn(RETAINED + 1, C, generator=generator, dtype=torch.float64)
    labels = torch.arange(RETAINED).repeat(EACH)[torch.randperm(RETAINED * EACH, generator=generator)]
    noise = torch.randn(len(labels), C, generator=generator, dtype=torch.float64) @ mixing.T
    return means[labels] + noise, labels, means, mixing @ mixing.T


def test_the_whitened_space_is_that_of_the_covariance_within_the_classes() -> None:
    features, labels, _, _ = gaussians()
    space = whitened(features, labels)
    oracle = LinearDiscriminantAnalysis(store_covariance=True).fit(features.numpy(), labels.numpy())
    assert torch.allclose(space.root @ space.root, torch.from_numpy(oracle.covariance_), rtol=0.02, atol=0.02)
    assert torch.allclose(space.root @ space.inverse, torch.eye(C, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(space.mean, features.mean(dim=0))


def test_the_resemblance_is_a_ridge_regression_carried_back() -> None:
    """Its covariance with a layer's values is what numpy's ridge of the values on h makes of the row's difference."""
    generator = torch.Generator().manual_seed(0)
    entering, rows = torch.randn(300, 7, generator=generator) + 2, torch.randn(5, 7, generator=generator)
    values = torch.randn(300, 4, generator=generator)
    looks = resemblance(entering, rows, [1], [1, 3])
    centred, targets = (entering - entering.mean(dim=0)).double().numpy(), values.double().numpy()
    root = np.sqrt(np.square(centred).sum(axis=0).mean())
    longer = np.vstack([centred, root * np.eye(7)])
    slopes = np.linalg.lstsq(longer, np.vstack([targets - targets.mean(axis=0), np.zeros((7, 4))]), rcond=None)[0]
    wanted = slopes.T @ (rows[1] - rows[[0, 2, 4]].mean(dim=0)).double().numpy()
    found = (values - values.mean(dim=0)).double().T @ looks[:, 0]
    assert np.allclose(found.numpy(), wanted, atol=1e-6)


def looks_of(features: Tensor, means: Tensor) -> Tensor:
    """The resemblance for a head that reads the features themselves and whose rows are the class means."""
    return resemblance(features, means - means.mean(dim=0), [RETAINED], [RETAINED])


def test_both_estimates_recover_the_direction_of_a_gaussian_class() -> None:
    """With rows along the class means and the true mean of all classes, either estimate finds the difference."""
    features, labels, means, _ = gaussians()
    space = whitened(features, labels)
    truth = unit(space.inverse @ (means[-1] - means[:-1].mean(dim=0)))
    looks = looks_of(features, means)
    by_row = row_directions(features, looks, space)[:, 0]
    difference = mean_difference(means.mean(dim=0), features, space)
    by_mean = unit(difference)
    assert float(by_row @ truth) > 0.8
    assert float(by_mean @ truth) > 0.98
    trust = mean_trust(difference, mean_noise(images=len(features), momentum=None))
    assert trust > 0.95
    both = combined(by_row[:, None], by_mean, reliability(features, looks, space), trust)[:, 0]
    assert float(both @ truth) > float(by_row @ truth)


def test_the_rows_estimate_is_exact_where_the_head_reads_whitened_features() -> None:
    """Then the regression is the identity up to a factor, and the row is the difference of means."""
    generator = torch.Generator().manual_seed(1)
    features = torch.linalg.qr(torch.randn(500, C, generator=generator, dtype=torch.float64))[0] * 500**0.5
    features = features - features.mean(dim=0)
    rows = torch.randn(3, C, generator=generator, dtype=torch.float64)
    space = whitened(features, torch.zeros(500, dtype=torch.int64))
    found = row_directions(features, resemblance(features, rows, [2], [2]), space)[:, 0]
    assert float(found @ unit(rows[2] - rows[:2].mean(dim=0))) > 1 - 1e-3


def test_weights_follow_the_noise() -> None:
    generator = torch.Generator().manual_seed(2)
    truth, first, second = unit(torch.randn(4000, 3, generator=generator, dtype=torch.float64)).T

    def estimate(cosine: float, noise: Tensor) -> Tensor:
        return cosine * truth + (1 - cosine**2) ** 0.5 * noise

    odds = estimate(ROW_TRUST, first)[:, None]
    sure = torch.ones(1, dtype=torch.float64)
    for cosine in (0.9, 0.5):
        mean = estimate(cosine, second)
        found = combined(odds, mean, sure, UNKNOWN)[:, 0] @ truth
        best = max(float(unit(odds[:, 0] + w * mean) @ truth) for w in np.linspace(0, 4, 401))
        assert float(found) == pytest.approx(best, abs=3e-3)
    useless = combined(odds, second, sure, UNKNOWN)[:, 0]
    assert float(useless @ truth) == pytest.approx(ROW_TRUST, abs=0.01)
    within_noise = combined(odds, mean, sure, 0.0)[:, 0]
    assert torch.equal(within_noise, odds[:, 0])
    opposed = combined(odds, -odds[:, 0], sure, UNKNOWN)[:, 0]
    assert torch.allclose(opposed, unit(odds[:, 0]))


def test_a_trusted_running_mean_shows_how_little_the_row_says() -> None:
    generator = torch.Generator().manual_seed(2)
    truth, first, second = unit(torch.randn(4000, 3, generator=generator, dtype=torch.float64)).T
    odds, mean = 0.4 * truth + 0.84**0.5 * first, 0.9 * truth + 0.19**0.5 * second
    sure = torch.ones(1, dtype=torch.float64)
    unknown, known = (float(combined(odds[:, None], mean, sure, trust)[:, 0] @ truth) for trust in (UNKNOWN, 0.9))
    assert known == pytest.approx(0.91, abs=0.01)
    assert unknown < 0.8


def test_the_trust_in_a_running_mean_follows_from_its_memory() -> None:
    """Simulated: a mean over a memory of training images, all classes, against the mean of retained images."""
    generator = torch.Generator().manual_seed(8)
    classes, images, momentum = 10, 900, 0.5
    memory = round(BATCH * (2 - momentum) / momentum)
    truth = torch.zeros(C, dtype=torch.float64)
    truth[0] = 4.0
    cosines, trusts = [], []
    for _ in range(60):
        noise = torch.randn(2, C, generator=generator, dtype=torch.float64)
        difference = truth / classes + noise[0] / memory**0.5 + noise[1] / images**0.5
        cosines.append(float(unit(difference) @ unit(truth)))
        trusts.append(mean_trust(difference, mean_noise(images=images, momentum=momentum)))
    assert np.mean(trusts) == pytest.approx(np.mean(cosines), abs=0.03)
    assert mean_trust(torch.full((C,), 1e-3), mean_noise(images=images, momentum=momentum)) == 0.0


def test_a_difference_of_means_is_carried_to_other_features() -> None:
    features, labels, means, _ = gaussians()
    turned = features @ torch.randn(C, C, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    running = means.mean(dim=0)
    space = whitened(features, labels)
    assert torch.equal(
        carried_difference(running, features, features, space), mean_difference(running, features, space)
    )
    there = whitened(turned, labels)
    mixing = torch.linalg.lstsq(features - features.mean(dim=0), turned - turned.mean(dim=0)).solution
    wanted = there.inverse @ (mixing.T @ (running - features.mean(dim=0)))
    found = carried_difference(running, features, turned, there)
    assert float(unit(found) @ unit(wanted)) > 0.95


def test_of_several_classes_the_running_mean_corrects_what_their_estimates_share() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = unit(torch.randn(3000, 2, generator=generator, dtype=torch.float64))
    error = unit(torch.randn(3000, 2, generator=generator, dtype=torch.float64))
    odds = unit(0.85 * truth + 0.53 * error)
    found = combined(odds, truth.sum(dim=1), torch.ones(2, dtype=torch.float64), UNKNOWN)
    before, after = (odds * truth).sum(dim=0), (found * truth).sum(dim=0)
    assert bool((after > before + 0.02).all())


def test_reliability_tells_noise_from_signal() -> None:
    features, labels, means, _ = gaussians()
    space = whitened(features, labels)
    looks = looks_of(features, means)
    noise = torch.randn(len(looks), 40, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert float(reliability(features, looks, space)) > 0.99
    assert float(reliability(features, noise, space).mean()) < 0.6


def test_the_shared_part_is_left_alone() -> None:
    """After the projection the retained classes' means are where they were; the class's own part is gone."""
    features, labels, means, _ = gaussians()
    space = whitened(features, labels)
    shared = shared_directions(features, labels, space)
    assert shared.shape == (C, RETAINED - 1)
    truth = unit(space.inverse @ (means[-1] - means[:-1].mean(dim=0)))
    basis, _ = without_shared(truth[:, None], shared)
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
    basis, _ = without_shared(unit(space.inverse @ means[-1])[:, None], shared_directions(features, labels, space))
    pattern = space.root @ basis
    assert torch.allclose(projection(basis, space, 2.0) @ pattern, -pattern, atol=1e-9)
    assert torch.allclose(projection(basis, space, 0.0), torch.eye(C, dtype=torch.float64))


def test_several_classes_are_taken_out_together() -> None:
    features, labels, _, _ = gaussians()
    space, shared = whitened(features, labels), torch.zeros(C, 0, dtype=torch.float64)
    wanted = unit(torch.randn(C, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    basis, _ = without_shared(wanted, shared)
    assert torch.allclose(basis.T @ basis, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert float((projection(basis, space, 1.0) @ space.root @ wanted).abs().max()) < 1e-9
    twice, kept = without_shared(torch.cat([wanted[:, :2], wanted], dim=1), shared)
    assert twice.shape == (C, 3), "a direction of which nothing is left is dropped"
    assert kept == [0, 1, 4], "and it is said which are kept"


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
    ours = projection(without_shared(truth, shared_directions(features, labels, space))[0], space, 1.0)
    spread = torch.stack([features[labels == k].mean(dim=0) for k in range(RETAINED)]) - space.mean

    def moved(change: Tensor) -> float:
        return float(((spread @ change.T - spread) @ space.inverse).norm() / (spread @ space.inverse).norm())

    assert moved(whole) > 0.3
    assert moved(ours) < 1e-6
