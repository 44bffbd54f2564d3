"""Estimates the directions in which forgotten classes differ from retained images and the model alone.

Shapes: n retained images, C channels, K classes, G forgotten classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROW_TRUST = 0.85  # cosine of an estimated direction with the truth: .6 to .94 (docs/log.md, 2026-11-28)
SHARED = 4  # of C channels, at most C / SHARED directions of the retained means are left alone
SHRINK = 0.1  # share per channel and image of the covariance's mean eigenvalue that is added
TINY = 1e-3  # what is left of a unit direction, at least; of less the rounding would be normalised


@dataclass(frozen=True)
class Whitened:
    """The space of a stage's channels in which the retained images' covariance is the identity.

    Args:
        mean: of the retained images, (C,).
        root: C^1/2, from the whitened space to the channels, (C, C).
        inverse: C^-1/2, (C, C).
    """

    mean: Tensor
    root: Tensor
    inverse: Tensor


def whitened(features_nC: Tensor, labels_n: Tensor) -> Whitened:
    """Return the whitened space of the covariance within the retained classes.

    C = 1/n sum over images of (x - mean of its class)(x - mean of its class)^T, shrunk towards its mean eigenvalue by
    `SHRINK` C / n, as it is estimated from few images.
    """
    features = features_nC.double()
    means_kC, rows = class_means(features, labels_n)
    centred = features - means_kC[rows]
    covariance = centred.T @ centred / len(features)
    channels = covariance.shape[0]
    share = SHRINK * channels / len(features)
    mean_value = covariance.diagonal().mean().clamp_min(1e-12)
    values, vectors = torch.linalg.eigh(covariance + share * mean_value * torch.eye(channels).to(covariance))
    values = values.clamp_min(1e-8 * float(mean_value))
    root = vectors * values.sqrt() @ vectors.T
    inverse = vectors / values.sqrt() @ vectors.T
    return Whitened(features.mean(dim=0), root, inverse)


def class_means(features_nC: Tensor, labels_n: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of the classes that occur (k, C), and for each image the row of its class's mean (n,)."""
    _, rows = labels_n.to(features_nC.device).unique(return_inverse=True)
    counts = torch.bincount(rows)
    sums = features_nC.new_zeros(len(counts), features_nC.shape[1]).index_add_(0, rows, features_nC)
    return sums / counts[:, None], rows


def resemblance(entering_nD: Tensor, rows_KD: Tensor, forget: Sequence[int], gone: Sequence[int]) -> Tensor:
    """Return how much each retained image looks like each forgotten class to the head, (n, G).

        t = (h - mean h)^T (H^T H + lambda I)^-1 (w_c - mean of the retained rows),   lambda: mean diagonal of H^T H

    In a trained network a class's mean at the head's input lies along its row of the head ("neural collapse":
    V. Papyan, X. Y. Han, D. L. Donoho, PNAS 2020, arXiv 2008.08186). The covariance of any layer's values with t
    carries that direction back there, as the ridge regression of these values on h does. The log-odds, in place of t,
    show it less well (docs/log.md, 2026-11-27).

    Args:
        entering_nD: h, at the head's input.
        rows_KD: w, the head's weights.
        forget: ids of the classes to forget.
        gone: ids of these and of the classes forgotten earlier.
    """
    centred_nD, rows = entering_nD.double() - entering_nD.double().mean(dim=0), rows_KD.double()
    kept = [k for k in range(len(rows)) if k not in set(gone)]
    gram = centred_nD.T @ centred_nD
    gram.diagonal().add_(gram.diagonal().mean().clamp_min(1e-12))
    differences_DG = (rows[list(forget)] - rows[kept].mean(dim=0)).T
    looks_nG: Tensor = centred_nD @ torch.linalg.solve(gram, differences_DG)
    return looks_nG


def shared_directions(features_nC: Tensor, labels_n: Tensor, space: Whitened) -> Tensor:
    """Return an orthonormal basis (C, k) of the retained classes' means, whitened.

    Of more than C / `SHARED` of them, their main directions.
    """
    means_kC, _ = class_means(features_nC.double(), labels_n)
    spread_Ck = space.inverse @ (means_kC - means_kC.mean(dim=0)).T
    vectors, values, _ = torch.linalg.svd(spread_Ck, full_matrices=False)
    room = min(len(means_kC) - 1, max(1, len(vectors) // SHARED))
    found: Tensor = vectors[:, :room][:, values[:room] > 1e-6 * values[0].clamp_min(1e-12)]
    return found


@dataclass(frozen=True)
class Showing:
    """How features of retained images show their resemblance to forgotten classes, outside the retained means' span.

    Args:
        by_class: how much of each class's resemblance shows, (G,) from 0 to about 1.
        sizes: the same along the main directions, largest first, (G,).
        mixes: of which classes each main direction is made, orthonormal columns, (G, G).
        directions: the main directions, whitened, (C, G); not yet orthogonal, and of length 1 or zero.
        noise: a size that noise alone may have.
    """

    by_class: Tensor
    sizes: Tensor
    mixes: Tensor
    directions: Tensor
    noise: float


def showing(features_nC: Tensor, looks_nG: Tensor, space: Whitened, shared_Ck: Tensor) -> Showing:
    """Return how the features show the resemblance.

        M = (A^T B + B^T A) / 2 = V diag(s^2) V^T

    A and B (C, G) are the covariances of the whitened features with the standardised resemblances in one half of the
    images and in the other, without their part in the span of the retained means: noise, which the halves do not share,
    adds nothing to M on average. A class shows by the root of its diagonal entry of M, a main direction by s; `noise`
    bounds the s of what has no direction (`noise_edge`).
    """
    looks = standardised(looks_nG)
    white = (features_nC.double() - space.mean) @ space.inverse
    white = white - white @ shared_Ck @ shared_Ck.T

    def covariance(part: slice) -> Tensor:
        found: Tensor = white[part].T @ (looks[part] - looks[part].mean(dim=0)) / len(looks[part])
        return found

    first, second = covariance(slice(0, None, 2)), covariance(slice(1, None, 2))
    product = (first.T @ second + second.T @ first) / 2
    squares, mixes = torch.linalg.eigh(product)
    squares, mixes = squares.flip(0), mixes.flip(1)
    free = max(1, len(shared_Ck) - shared_Ck.shape[1])
    variance = float(white.square().sum()) / len(white) / free
    return Showing(
        by_class=product.diagonal().clamp_min(0).sqrt(),
        sizes=squares.clamp_min(0).sqrt(),
        mixes=mixes,
        directions=unit((first + second) @ mixes),
        noise=math.sqrt(variance * noise_edge(len(white), free, len(squares))),
    )


def noise_edge(images: int, free: int, classes: int) -> float:
    """Return what the largest eigenvalue of M is at most where features and resemblances have nothing in common.

        1/n [(sqrt(d) + sqrt(G))^2 - max(0, sqrt(d) - sqrt(G))^2],   for features of variance 1 in d dimensions

    Then M is half the difference of two Wishart matrices of d samples with variance 2 / n, whose eigenvalues lie
    between the ends of Marchenko's and Pastur's law. For one class this is two standard deviations of M.

    Args:
        images: n.
        free: d, the channels outside of the retained means' span.
        classes: G.

    >>> round(noise_edge(1800, 64, 1), 3), round(noise_edge(1800, 64, 20), 3)
    (0.018, 0.08)
    """
    high, low = math.sqrt(free) + math.sqrt(classes), max(0.0, math.sqrt(free) - math.sqrt(classes))
    return (high**2 - low**2) / images


def standardised(looks_nG: Tensor) -> Tensor:
    """Return the resemblances with mean 0 and standard deviation 1."""
    looks = looks_nG.double()
    return (looks - looks.mean(dim=0)) / looks.std(dim=0, unbiased=False).clamp_min(1e-12)


def showing_of(features_nC: Tensor, labels_n: Tensor, looks_nG: Tensor) -> Showing:
    """Return `showing` of features in the whitened space that is theirs."""
    space = whitened(features_nC, labels_n)
    return showing(features_nC, looks_nG, space, shared_directions(features_nC, labels_n, space))


def orthonormal(directions_CG: Tensor) -> tuple[Tensor, list[int]]:
    """Return an orthonormal basis (C, g) of the directions, in their order.

    A direction of which nothing is left is dropped, so g <= G; the second value names those that are kept.
    """
    basis: list[Tensor] = []
    kept: list[int] = []
    for place, direction in enumerate(directions_CG.T):
        rest = direction
        for other in basis:
            rest = rest - other * (other @ rest)
        if rest.norm() > TINY:
            basis.append(rest / rest.norm())
            kept.append(place)
    return (torch.stack(basis, dim=1) if basis else directions_CG[:, :0]), kept


def unit(vectors: Tensor) -> Tensor:
    """Return the columns scaled to length 1; zeros stay zeros."""
    scaled: Tensor = vectors / vectors.norm(dim=0, keepdim=True).clamp_min(1e-30)
    return scaled


def projection(basis_Cg: Tensor, space: Whitened, strengths_g: Tensor | float) -> Tensor:
    """Return I - C^1/2 V diag(a) V^T C^-1/2 (C, C), which takes directions out of a stage's output by strengths a."""
    removed = space.root @ (basis_Cg * strengths_g) @ (basis_Cg.T @ space.inverse)
    return torch.eye(len(basis_Cg), dtype=removed.dtype, device=removed.device) - removed
