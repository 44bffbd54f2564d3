"""The formulas of erase's directions, against cases with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from unlearnkit.methods.erase.directions import (
    orthonormal,
    projection,
    resemblance,
    shared_directions,
    showing,
    showing_of,
    unit,
    whitened,
)

C, RETAINED, EACH = 24, 6, 2000


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


def outside(directions: Tensor, shared: Tensor) -> Tensor:
    """What of the directions lies outside of the shared span, of length 1."""
    return unit(directions - shared @ (shared.T @ directions))


def test_the_rows_estimate_recovers_the_direction_of_a_gaussian_class() -> None:
    """In whitened features, as a head comes to read them in training, outside of what the other classes share."""
    features, labels, means, _ = gaussians()
    space = whitened(features, labels)
    white, centres = (features - space.mean) @ space.inverse, (means - space.mean) @ space.inverse
    own = whitened(white, labels)
    shared = shared_directions(white, labels, own)
    truth = outside(own.inverse @ (centres[-1:] - centres[:-1].mean(dim=0)).T, shared)
    assert float(showing(white, looks_of(white, centres), own, shared).directions[:, 0] @ truth[:, 0]) > 0.95


def test_the_rows_estimate_is_exact_where_the_head_reads_whitened_features() -> None:
    """Then the regression is the identity up to a factor, and the row is the difference of means."""
    generator = torch.Generator().manual_seed(1)
    features = torch.linalg.qr(torch.randn(500, C, generator=generator, dtype=torch.float64))[0] * 500**0.5
    features = features - features.mean(dim=0)
    rows = torch.randn(3, C, generator=generator, dtype=torch.float64)
    found = showing_of(features, torch.zeros(500, dtype=torch.int64), resemblance(features, rows, [2], [2]))
    assert float(found.directions[:, 0] @ unit(rows[2] - rows[:2].mean(dim=0))) > 1 - 1e-3


def test_what_shows_is_the_correlation_outside_of_the_span_and_no_noise() -> None:
    """A resemblance that is one whitened value and as much noise shows by sqrt(1/2); an unrelated one by 0."""
    generator = torch.Generator().manual_seed(4)
    features, labels, _, _ = gaussians()
    space = whitened(features, labels)
    shared = shared_directions(features, labels, space)
    axis = outside(torch.randn(C, 1, generator=generator, dtype=torch.float64), shared)
    value = (features - space.mean) @ space.inverse @ axis
    noise = torch.randn(len(features), 2, generator=generator, dtype=torch.float64)
    looks = torch.cat([value + noise[:, :1], noise[:, 1:], (features - space.mean) @ space.inverse @ shared[:, :1]], 1)
    found = showing_of(features, labels, looks).by_class
    assert float(found[0]) == pytest.approx(0.5**0.5, abs=0.03)
    assert float(found[1]) < 0.05, "noise in many channels adds nothing"
    assert float(found[2]) < 0.05, "what retained classes share does not count"
    elsewhere = showing_of(features @ torch.randn(C, C, generator=generator).double(), labels, looks)
    assert torch.allclose(elsewhere.by_class, found, atol=0.02)


def test_classes_that_look_alike_share_a_main_direction() -> None:
    """Sizes, mixes and directions are the singular values and vectors of the covariance, outside of the shared span."""
    generator = torch.Generator().manual_seed(7)
    features, labels, _, _ = gaussians()
    space = whitened(features, labels)
    shared = shared_directions(features, labels, space)
    axes, _ = orthonormal(outside(torch.randn(C, 2, generator=generator, dtype=torch.float64), shared))
    values = (features - space.mean) @ space.inverse @ axes
    noise = torch.randn(len(features), 3, generator=generator, dtype=torch.float64)
    looks = values @ torch.tensor([[1.0, 1.0, 0.2], [0.1, -0.1, 1.0]], dtype=torch.float64) + noise
    white, standard = (features - space.mean) @ space.inverse, (looks - looks.mean(dim=0)) / looks.std(dim=0)
    covariance = (white - shared_part(white, shared)).T @ standard / len(white)
    directions, sizes, mixes = np.linalg.svd(covariance.numpy(), full_matrices=False)
    found = showing_of(features, labels, looks)
    assert np.allclose(found.sizes[:2], sizes[:2], atol=0.02)
    assert float(found.sizes[2]) < found.noise < float(found.sizes[1]), "the third lies within the noise"
    assert np.allclose(np.abs(mixes[:2] @ found.mixes[:, :2].numpy()), np.eye(2), atol=0.03)
    assert np.allclose(np.abs(directions[:, :2].T @ found.directions[:, :2].numpy()), np.eye(2), atol=0.03)


def shared_part(white: Tensor, shared: Tensor) -> Tensor:
    """What of whitened features lies in the shared span."""
    return white @ shared @ shared.T


@pytest.mark.parametrize(("classes", "retained"), [(1, 6), (20, 6), (90, 6), (20, 40)])
def test_noise_has_no_main_direction(classes: int, retained: int) -> None:
    """Resemblances that have nothing to do with the features hardly ever show more than the edge, and not by much.

    Forty retained classes do not fit into the shared span, so what varies between them is noise here as well.
    """
    generator = torch.Generator().manual_seed(8)
    labels = torch.arange(600) % retained
    means = torch.randn(retained, C, generator=generator, dtype=torch.float64)
    features = means[labels] + torch.randn(600, C, generator=generator, dtype=torch.float64)
    draws = [torch.randn(600, classes, generator=generator, dtype=torch.float64) for _ in range(40)]
    found = [showing_of(features, labels, looks) for looks in draws]
    over = torch.stack([each.sizes / each.noise for each in found])
    assert int((over > 1).sum()) <= 4
    assert 0.6 < float(over.amax(dim=1).quantile(0.8)) < 1, "the edge is not far away"
    assert float(over.max()) < 1.3


def test_the_shared_part_is_left_alone() -> None:
    """After the projection the retained classes' means are where they were; the class's own part is gone."""
    features, labels, means, _ = gaussians()
    space = whitened(features, labels)
    shared = shared_directions(features, labels, space)
    assert shared.shape == (C, RETAINED - 1)
    truth = unit(space.inverse @ (means[-1] - means[:-1].mean(dim=0)))
    basis = outside(truth[:, None], shared)
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
    basis = outside((space.inverse @ means[-1])[:, None], shared_directions(features, labels, space))
    pattern = space.root @ basis
    assert torch.allclose(projection(basis, space, 2.0) @ pattern, -pattern, atol=1e-9)
    assert torch.allclose(projection(basis, space, 0.0), torch.eye(C, dtype=torch.float64))


def test_several_classes_are_taken_out_together() -> None:
    features, labels, _, _ = gaussians()
    space = whitened(features, labels)
    wanted = unit(torch.randn(C, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    basis, _ = orthonormal(wanted)
    assert torch.allclose(basis.T @ basis, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert float((projection(basis, space, 1.0) @ space.root @ wanted).abs().max()) < 1e-9
    twice, kept = orthonormal(torch.cat([wanted[:, :2], wanted], dim=1))
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
    ours = projection(outside(truth, shared_directions(features, labels, space)), space, 1.0)
    spread = torch.stack([features[labels == k].mean(dim=0) for k in range(RETAINED)]) - space.mean

    def moved(change: Tensor) -> float:
        return float(((spread @ change.T - spread) @ space.inverse).norm() / (spread @ space.inverse).norm())

    assert moved(whole) > 0.3
    assert moved(ours) < 1e-6
