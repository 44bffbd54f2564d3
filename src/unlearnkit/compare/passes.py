"""Knows how many samples each method passes through the network, from the committed comparisons, for a suite's plan.

Almost every method passes its retained samples and the forgotten ones a fixed number of times by default, and some
pass a fixed number whatever the data. Of a method's settings `retain_per_class` alone is known here. A sample passed
forward and backward counts as one, forward alone as a third.
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
        forgotten: passes over the training samples to forget, those that no training here learns included.
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
            forgotten: training samples to forget.
            per_class: setting `retain_per_class` of the method; None: its default.
        """
        if per_class is None and not self.fifth:
            read = sum(retained.values())
        else:
            read = sum(min(count, per_class or max(FEWEST, int(FIFTH * count))) for count in retained.values())
        return self.retained * read + self.forgotten * forgotten + self.samples


USUAL = Passes(5.0, 3.0)  # of a method that is not listed
PASSES = {  # of the committed field-small and methods-digits
    "auto": Passes(6.0, samples=2_500, fifth=True),  # where erase holds, on plain networks, it is the samples alone
    "bad-teacher": Passes(2.0, 6.67), "boundary-expand": Passes(0.0, 5.0), "boundary-shrink": Passes(0.0, 3.33),
    "cmf": Passes(7.0, 7.0), "cola": Passes(4.67), "ct": Passes(5.0), "damp": Passes(0.0, 0.33, 300),
    "delete": Passes(0.0, 26.7), "descent-to-delete": Passes(0.33, 0.33), "emmn": Passes(samples=27_000),
    "erase": Passes(samples=1_200), "finetune": Passes(2.1), "fisher": Passes(1.0),
    "gkt": Passes(samples=190_000), "head-distillation": Passes(6.67, 6.67), "head-mask": Passes(),
    "jit": Passes(0.0, 7.33), "l1-sparse": Passes(9.1), "lfssd": Passes(1.0, 1.0), "linear-refit": Passes(0.33),
    "lotus": Passes(1.6, 7.0), "mixed-linear": Passes(43.0), "msg": Passes(6.0, 1.0), "neggrad": Passes(0.0, 7.0),
    "neggrad+": Passes(9.1, 9.0), "newton-removal": Passes(0.33, 0.33), "noisy-finetune": Passes(10.4),
    "ntk": Passes(samples=840), "original": Passes(), "projective-residual": Passes(0.33, 0.33),
    "random-label": Passes(8.0, 8.0), "salun": Passes(10.0, 11.0), "scar": Passes(7.0, 5.33),
    "scrub": Passes(6.67, 1.33), "sfron": Passes(4.0, 14.3), "shrink-distill": Passes(9.0, fifth=True),
    "ssd": Passes(1.0, 1.0), "svd-projection": Passes(0.0, 0.33, 300), "trew": Passes(5.0, 5.33),
    "unsir": Passes(12.0, samples=4_000, fifth=True), "weight-damage": Passes(5.0),
}  # fmt: skip
