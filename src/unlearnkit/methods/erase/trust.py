"""Measures how far an estimated direction can be trusted, on retained classes that play the part of the forgotten.

Shapes: n retained images, D features at the head's input, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from unlearnkit.methods.erase.directions import resemblance, shared_directions, showing, whitened

# Below it all results of five settings were outside, by 1.9 to 5.2 times the band (docs/log.md, 2026-11-28); of a
# narrow ResNet18, measured later, two of four requests are inside, and the others at 1.2 and 1.4 (2026-11-29).
LEAST_TRUST = 0.65
PLAYERS, WIDE, PLAYERS_IF_WIDE = 10, 512, 3  # retained classes that play the part at most, up to 512 features and above
FEWEST_CLASSES, FEWEST_IMAGES = 3, 4  # retained classes, and images of one that plays the part


def trust(entering_nD: Tensor, labels_n: Tensor, rows_KD: Tensor, gone: Sequence[int]) -> float | None:
    """Return the cosine of estimated directions with the true ones, for retained classes that are left out in turn.

        sum over k of u_k . d_k  /  sum over k of |d_k|

    u_k is the direction of class k as `directions.showing` estimates it from the images of the other classes and the
    head's row of k, and d_k what the mean of its images has outside of the others' span, whitened as they are. The
    forgotten class has no images here to hold its own estimate against, but it is estimated in the same way: on three
    networks for CIFAR-10 its cosine is .62, .83 and .91, and this is .55, .77 and .83 (docs/log.md, 2026-11-28).
    |d_k|^2 is taken as the product of two halves' means, so that the noise of few images does not count as distance.
    Each class costs a decomposition of a (D, D) matrix, a second at 1,024 features.

    Args:
        entering_nD: what enters the head, of retained images.
        labels_n: their classes.
        rows_KD: the head's weights.
        gone: ids of the classes to forget and of those forgotten earlier.

    Returns:
        In [-1, 1]; None where fewer than three retained classes have four images, where values are not finite, and
        where no class can be told from the others.

    >>> import torch
    >>> means = 9 * torch.eye(6, 8)
    >>> labels = torch.arange(5).repeat(100)
    >>> images = means[labels] + torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    >>> round(trust(images, labels, means, [5]), 2)
    0.99
    """
    classes, counts = labels_n.unique(return_counts=True)
    able = classes[counts >= FEWEST_IMAGES].tolist()
    if len(able) < FEWEST_CLASSES or not bool(entering_nD.isfinite().all() and rows_KD.isfinite().all()):
        return None
    players = PLAYERS if entering_nD.shape[1] <= WIDE else PLAYERS_IF_WIDE
    along = length = 0.0
    for k in able[:: -(-len(able) // players)]:
        own = labels_n == k
        features, labels = entering_nD[~own], labels_n[~own]
        space = whitened(features, labels)
        shared = shared_directions(features, labels, space)
        looks = resemblance(features, rows_KD, [k], [*gone, k])
        estimate = showing(features, looks, space, shared).directions[:, 0]
        white = (entering_nD[own].double() - space.mean) @ space.inverse
        white = white - white @ shared @ shared.T
        first, second = white[0::2].mean(dim=0), white[1::2].mean(dim=0)
        along += float(estimate @ (first + second)) / 2
        length += float((first @ second).clamp_min(0).sqrt())
    return max(-1.0, min(1.0, along / length)) if length else None


def doubted(found: float | None) -> dict[str, object]:
    """Return what a run notes of directions that are not to be trusted, for terminal and report; else nothing.

    >>> doubted(0.5)
    {'doubt': {'code': 'directions_doubtful', 'values': {'cosine': 0.5, 'least': 0.65}}}
    >>> doubted(0.8), doubted(None)
    ({}, {})
    """
    if found is None or found >= LEAST_TRUST:
        return {}
    return {"doubt": {"code": "directions_doubtful", "values": {"cosine": found, "least": LEAST_TRUST}}}
