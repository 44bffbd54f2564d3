"""Knows how many samples each method passes through the network, from the committed comparisons, for a suite's plan.

Almost every method passes its retained samples and the forgotten ones a fixed number of times by default, and some
pass a fixed number whatever the data. Of a method's settings those are counted that say how many retained samples it
reads (`retain_per_class`), how often (`recipe.epochs`) and whether rates are tried first (`search`), and all of UNSIR.
A sample passed forward and backward counts as one, forward alone as a third.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.retrain import Retrain
from unlearnkit.methods.unsir.unsir import NOISE_SHARE, UNSIR

FIFTH, FEWEST = 0.2, 100  # of a class, and the fewest of it: what some methods keep where they are not told
KEPT = 3  # noise images of a class that the notebook keeps, as many as there are channels
FORWARD = 1 / 3  # what a sample passed forward alone counts
COSTLY = {  # settings that decide how many samples are passed, wherever they stand
    "copies", "epochs", "iterations", "max_rounds", "noise", "passes", "per_class", "repeats", "retain", "rounds",
    "samples", "steps", "student_repeats",
}  # fmt: skip


@dataclass(frozen=True)
class Passes:
    """How often a method passes what it is given, by default.

    Args:
        retained: passes over the retained training samples that it reads.
        forgotten: passes over the training samples to forget, those that no training here learns included.
        samples: passed besides, whatever the data.
        fifth: it reads a fifth of each retained class, or 100 samples, where the setting `retain_per_class` is not
            given; other methods read all.
        once: passes over both that come besides, whatever the epochs.
    """

    retained: float = 0.0
    forgotten: float = 0.0
    samples: float = 0.0
    fifth: bool = False
    once: float = 0.0

    def read(self, retained: Mapping[int, int], per_class: int | None) -> int:
        """Return the number of retained samples that it reads.

        Args:
            retained: training samples of each retained class.
            per_class: setting `retain_per_class` of the method; None: its default.
        """
        if per_class is None and not self.fifth:
            return sum(retained.values())
        return sum(min(count, per_class or max(FEWEST, int(FIFTH * count))) for count in retained.values())

    def of(self, read: int, forgotten: int, length: float = 1.0) -> float:
        """Return the number of samples passed.

        Args:
            read: retained samples that it reads.
            forgotten: training samples to forget.
            length: epochs, as a share of those that it has by default.
        """
        passes = length * (self.retained * read + self.forgotten * forgotten)
        return passes + self.once * (read + forgotten) + self.samples


USUAL = Passes(5.0, 3.0)  # of a method that is not listed
PASSES = {  # of the committed field-small and methods-digits
    "auto": Passes(6.0, samples=2_500, fifth=True),  # where erase holds, on plain networks, it is the samples alone
    "bad-teacher": Passes(2.0, 6.67), "boundary-expand": Passes(0.0, 5.0), "boundary-shrink": Passes(0.0, 3.33),
    "cmf": Passes(7.0, 7.0), "cola": Passes(4.67), "ct": Passes(5.0), "damp": Passes(0.0, 0.33, 300),
    "delete": Passes(0.0, 26.7), "descent-to-delete": Passes(0.33, 0.33), "emmn": Passes(samples=27_000),
    "erase": Passes(samples=1_200), "finetune": Passes(2.0), "fisher": Passes(1.0),
    "gkt": Passes(samples=190_000), "head-distillation": Passes(6.67, 6.67), "head-mask": Passes(),
    "jit": Passes(0.0, 7.33), "l1-sparse": Passes(9.0), "lfssd": Passes(1.0, 1.0), "linear-refit": Passes(0.33),
    "lotus": Passes(1.6, 7.0), "mixed-linear": Passes(43.0), "msg": Passes(5.0, once=1.0), "neggrad": Passes(0.0, 7.0),
    "neggrad+": Passes(9.0, 9.0), "newton-removal": Passes(0.33, 0.33), "noisy-finetune": Passes(10.1, samples=2_900),
    "ntk": Passes(samples=840), "original": Passes(), "projective-residual": Passes(0.33, 0.33),
    "random-label": Passes(8.0, 8.0), "salun": Passes(10.0, 11.0), "scar": Passes(7.0, 5.33),
    "scrub": Passes(6.67, 1.33), "sfron": Passes(4.0, 14.3), "shrink-distill": Passes(9.0, fifth=True),
    "ssd": Passes(1.0, 1.0), "svd-projection": Passes(0.0, 0.33, 300), "trew": Passes(5.0, 5.33),
    "unsir": Passes(fifth=True), "weight-damage": Passes(5.0),
}  # fmt: skip


def passed(
    method: ConfiguredMethod, retained: Mapping[int, int], forgotten: int, classes: int, *, augmented: bool
) -> float:
    """Return the number of samples that a method passes for one request.

    Args:
        method: with its settings.
        retained: training samples of each retained class.
        forgotten: training samples to forget.
        classes: to forget.
        augmented: whether the training images are.
    """
    passes, settings = PASSES.get(method.name, USUAL), method.model_dump()
    read = passes.read(retained, settings.get("retain_per_class"))
    if isinstance(method, UNSIR):
        return _of_unsir(method, read, classes, augmented=augmented and method.augment)
    if method.name not in PASSES:  # what the settings of a method of another package mean is its own affair
        return passes.of(read, forgotten)
    recipe, usual = (each.get("recipe") or {} for each in (settings, type(method)().model_dump()))
    length = recipe["epochs"] / usual["epochs"] if recipe and usual else 1.0
    search = settings.get("search") or {}
    tried = min(read, search["steps"] * recipe["batch_size"]) if recipe and search.get("trials") else 0
    return passes.of(read, forgotten, length) + tried


def unknown(method: ConfiguredMethod) -> list[str]:
    """Return the names of changed settings that may cost something, and that `passed` does not count."""
    if isinstance(method, UNSIR | Retrain):
        return []
    here, usual = (dict(_leaves(each.model_dump())) for each in (method, type(method)()))
    changed = [name for name in dict.fromkeys([*usual, *here]) if here.get(name) != usual.get(name)]
    whole = tuple(f"{name}." for name in ("search", *changed))  # what stands below these is said by them
    counted = ("retain_per_class", "recipe.epochs", "search")
    rest = [name for name in changed if name not in counted and not name.startswith(whole)]
    passes = PASSES.get(method.name, USUAL)
    drawn = {"batch_size"} if not passes.retained and not passes.forgotten else set()  # it makes its samples itself
    return [name for name in rest if name.rpartition(".")[2] in COSTLY | drawn]


def _of_unsir(method: UNSIR, read: int, classes: int, *, augmented: bool) -> float:
    """Return what UNSIR passes, by the steps that its card names.

    On images that are augmented, those of all data but digits, its second rates hold mostly, else its first.
    """
    learned, shown, noise = 0, 0, method.noise
    if noise is not None:
        room = round(NOISE_SHARE * read)
        images = classes * noise.per_class(classes, room)
        repeats = noise.repeats or max(1, round(room / images))
        learned, shown = noise.steps * images, repeats * (KEPT * classes if method.quirks else images)
    attempts = 1 if method.search is None else min(method.search.attempts, 2 if augmented else 1)
    asked = FORWARD * read if method.repair.distill else 0.0  # the original, in each epoch or once
    repair = method.repair.epochs * (read + (asked if augmented else 0.0))
    attempt = method.rounds * (method.impair.epochs * (read + shown) + repair)
    attempt += FORWARD * read if method.recalibrate else 0.0
    return learned + attempts * attempt + (0.0 if augmented else asked)


def _leaves(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Return each setting by its whole name; of one with settings inside also that it is given, as it may be none."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield f"{before}{name}", "given"
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
