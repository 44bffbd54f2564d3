"""Judges whether weights belong to a class list and a preprocessing, by what they say of retained training images.

Shapes: n images, K classes, R of them with images. Nothing here reads an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Kind = Literal["fits", "moved", "chance"]
ERRORS = 3  # standard errors above chance that an accuracy must exceed
FEWEST = 30  # images below which an accuracy near chance says nothing
ROWS = 5  # images below which a class's own answers say nothing
MOST, LITTLE = 0.5, 0.2  # share of a class's images on another output, and on its own, for it to have moved
ALONE, HARDLY = 0.8, 0.1  # the same for a class that moved to where no image was looked at
HEAVY = 5  # times as many training images, beside which a small class may honestly lose its own


class Move(NamedTuple):
    """A class that the model answers with the output of another."""

    label: int
    output: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the answers come to.

    Args:
        kind: `fits`; `moved`, outputs hold the images of other classes; `chance`, no better than guessing.
        images: how many were looked at.
        accuracy: share that is answered with the class's own output.
        chance: what the same answers would reach if they had nothing to do with the images, 1/K at least.
        limit: accuracy up to which it is called chance, `ERRORS` standard errors above.
        moves: the classes that moved.
        common: the output that is answered most, and its share.
    """

    kind: Kind
    images: int
    accuracy: float
    chance: float
    limit: float
    moves: tuple[Move, ...]
    common: tuple[int, float]


def judge(logits: Tensor, labels: Tensor, training: Tensor) -> Finding:
    """Judge the answers to images of the retained classes, about as many of each.

    Chance is sum_k p_k q_k, where p_k is the share of images of class k and q_k that of answers k: what a model that
    always says the same reaches, whatever it says. A small class beside one of `HEAVY` times its training images may
    lose all of its images to it without a fault in the inputs; such a model must still rank the images of its classes
    higher than others (one-versus-rest AUC above 1/2 by `ERRORS` standard errors).

    Args:
        logits: (n, K) float32.
        labels: (n,) int64.
        training: (K,) int64, training images of each class; 0 where there are none any more.
    """
    classes = logits.shape[1]
    confusion = torch.bincount(labels * classes + logits.argmax(dim=1), minlength=classes**2).view(classes, classes)
    n = len(labels)
    asked, answered = confusion.sum(dim=1) / n, confusion.sum(dim=0) / n
    accuracy = float(confusion.diagonal().sum()) / n
    chance = max(float((asked * answered).sum()), 1 / classes)
    limit = chance + ERRORS * math.sqrt(chance * (1 - chance) / n)
    moves = moved(confusion, training)
    several = int((asked > 0).sum()) > 1
    near = several and n >= FEWEST and accuracy <= limit
    if near and _crowded(answered, asked, training):
        near = not _ranks(logits, labels)
    common = int(answered.argmax())
    return Finding(
        kind="moved" if moves else "chance" if near else "fits",
        images=n,
        accuracy=accuracy,
        chance=chance,
        limit=limit,
        moves=moves,
        common=(common, float(answered[common])),
    )


def moved(confusion: Tensor, training: Tensor) -> tuple[Move, ...]:
    """Return the classes whose images are mostly on another output that is not that output's own class's.

    The outputs are matched with the classes one to one, so that one output that swallows many classes is none of it. A
    class counts where the output's own class has moved as well; or where nobody knows, as no image of that class was
    looked at, if the answers are clear enough and not explained by a far larger class.

    Args:
        confusion: (K, K) counts, classes by outputs.
        training: (K,) training images of each class.
    """
    from scipy.optimize import linear_sum_assignment

    seen = torch.nonzero(confusion.sum(dim=1) >= ROWS).flatten().tolist()
    if not seen:
        return ()
    share = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    purity = confusion / confusion.sum(dim=0, keepdim=True).clamp(min=1)
    matched = zip(seen, linear_sum_assignment(share[seen].numpy(), maximize=True)[1].tolist(), strict=True)
    found = {
        label: Move(label, output, float(share[label, output]))
        for label, output in matched
        if label != output
        and share[label, output] >= MOST
        and share[label, label] <= LITTLE
        and purity[label, output] > MOST
    }
    while settled := [label for label, move in found.items() if move.output in seen and move.output not in found]:
        for label in settled:
            del found[label]
    return tuple(sorted(move for chain in _chains(found) if _beyond_doubt(chain, share, training) for move in chain))


def _chains(moves: dict[int, Move]) -> list[list[Move]]:
    """Split the moves into circles, and paths that end at a class of which no image was looked at."""
    left, chains = dict(moves), []
    targets = {move.output for move in moves.values()}
    for start in [*(label for label in moves if label not in targets), *moves]:
        chain = []
        label = start
        while label in left:
            chain.append(left.pop(label))
            label = chain[-1].output
        if chain:
            chains.append(chain)
    return chains


def _beyond_doubt(chain: list[Move], share: Tensor, training: Tensor) -> bool:
    """Whether a chain of moves is no honest confusion: a circle, or a path that sizes of classes do not explain."""
    if chain[-1].output == chain[0].label:
        return True
    own = [float(share[move.label, move.label]) for move in chain]
    explained = [
        training[move.output] == 0 or training[move.output] >= HEAVY * training[move.label].clamp(min=1)
        for move in chain
    ]
    if len(chain) > 1:
        return not all(explained)
    return not explained[0] and chain[0].share >= ALONE and own[0] <= HARDLY


def _crowded(answered: Tensor, asked: Tensor, training: Tensor) -> bool:
    """Whether most answers are classes far larger than the median of those asked for, or of unknown size."""
    median = training[asked > 0].float().median()
    large = (training >= HEAVY * median) | (training == 0)
    return float(answered[large].sum()) >= MOST


def _ranks(logits: Tensor, labels: Tensor) -> bool:
    """Whether the classes' own images have higher probabilities than others, beyond `ERRORS` standard errors."""
    chances = logits.double().log_softmax(dim=1)
    areas, variances = [], []
    for label in labels.unique().tolist():
        own, other = chances[labels == label, label], chances[labels != label, label]
        wins = (own[:, None] > other).double() + 0.5 * (own[:, None] == other).double()
        areas.append(float(wins.mean()))
        variances.append((len(labels) + 1) / (12 * len(own) * len(other)))
    count = len(areas)
    return sum(areas) / count > 0.5 + ERRORS * math.sqrt(sum(variances) / count)
