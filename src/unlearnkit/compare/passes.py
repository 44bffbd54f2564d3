"""Knows how many samples each method passes through the network, from the committed comparisons, for a suite's plan.

Almost every method passes its retained samples and the forgotten ones a fixed number of times, and some pass a fixed
number whatever the data. A sample passed forward and backward counts as one, forward alone as a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FIFTH, FEWEST = 0.2, 100  # of a class, and the fewest of it: what some methods keep where they are not told


@dataclass(frozen=True)
class Passes:
    """How often a method passes what it is given, by default.

    Args:
        retained: passes over the retained training samples that it reads.
        forgotten: passes over the training samples of the forgotten classes.
        samples: passed besides, whatever the data.
        fifth: it reads a fifth of each retained class, or 100 samples, where the setting `retain_per_class` is not
            given; other methods read all.
    """

    retained: float = 0.0
    forgotten: float = 0.0
    samples: float = 0.0
    fifth: bool = False

    def of(self, retained: Mapping[int, int], forgotten: int, per_class: int | None) -> float:
        """Return the number of samples passed.

        Args:
            retained: training samples of each retained class.
            forgotten: training samples of the forgotten classes together.
            per_class: setting `retain_per_class` of the method; None: its default.
        """
        if per_class is None and not self.fifth:
            read = sum(retained.values())
        else:
            read = sum(min(count, per_class or max(FEWEST, int(FIFTH * count))) for count in retained.values())
        return self.retained * read + self.forgotten * forgotten + self.samples


USUAL = Passes(5.0, 3.0)  # of a method that is not listed
PASSES = {  # of the committed field-small and methods-digits; 1.05: what validation holds back is forgotten, too
    "auto": Passes(6.0, samples=2_500, fifth=True),  # where erase holds on a plain network it is the samples alone
    "bad-teacher": Passes(2.0, 7.0), "boundary-expand": Passes(0.0, 5.25), "boundary-shrink": Passes(0.0, 3.5),
    "cmf": Passes(7.0, 7.35), "cola": Passes(4.67), "ct": Passes(5.0), "damp": Passes(0.0, 0.35, 300),
    "delete": Passes(0.0, 28.0), "descent-to-delete": Passes(0.33, 0.35), "emmn": Passes(samples=27_000),
    "erase": Passes(samples=1_200), "finetune": Passes(2.1), "fisher": Passes(1.0),
    "gkt": Passes(samples=190_000), "head-distillation": Passes(6.67, 7.0), "head-mask": Passes(),
    "jit": Passes(0.0, 7.7), "l1-sparse": Passes(9.1), "lfssd": Passes(1.0, 1.05), "linear-refit": Passes(0.33),
    "lotus": Passes(1.6, 7.35), "mixed-linear": Passes(43.0), "msg": Passes(6.0, 1.05), "neggrad": Passes(0.0, 7.35),
    "neggrad+": Passes(9.1, 9.5), "newton-removal": Passes(0.33, 0.35), "noisy-finetune": Passes(10.4),
    "ntk": Passes(samples=840), "original": Passes(), "projective-residual": Passes(0.33, 0.35),
    "random-label": Passes(8.0, 8.4), "salun": Passes(10.0, 11.5), "scar": Passes(7.0, 5.6), "scrub": Passes(6.67, 1.4),
    "sfron": Passes(4.0, 15.0), "shrink-distill": Passes(6.0, fifth=True), "ssd": Passes(1.0, 1.05),
    "svd-projection": Passes(0.0, 0.35, 300), "trew": Passes(5.0, 5.6),
    "unsir": Passes(12.0, samples=4_000, fifth=True), "weight-damage": Passes(5.0),
}  # fmt: skip
