"""The judgement of the first look: what is refused, and above all what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from unlearnkit.steps.judging import drawn_alike
from unlearnkit.steps.plausible import Finding, judge

Answers = Mapping[int, Mapping[int, int]]  # class -> output -> how many of its images


def judged(answers: Answers, classes: int, training: Sequence[int] | None = None, *, ranked: bool = False) -> Finding:
    """Judge answers by counts; `ranked`: a class's own output then is the second best."""
    logits, labels = [], []
    for label, outputs in answers.items():
        for output, count in outputs.items():
            row = torch.zeros(classes)
            if ranked:
                row[label] = 1
            row[output] = 2
            logits += [row] * count
            labels += [label] * count
    sizes = torch.tensor(training if training is not None else [100] * classes)
    return judge(torch.stack(logits), torch.tensor(labels), sizes)


def diagonal(classes: Sequence[int], count: int = 20) -> dict[int, dict[int, int]]:
    return {k: {k: count} for k in classes}


FITS: dict[str, tuple[Answers, int, Sequence[int] | None, bool]] = {
    "all right": (diagonal(range(1, 10)), 10, None, False),
    "weak, but far above chance": ({k: {k: 8, 0: 12} for k in range(1, 10)}, 10, None, False),
    "weak, ten per cent of a hundred classes": (
        {k: {k: 1, 0: 3, (k + 7) % 100: 3, (k + 20) % 100: 3} for k in range(99)}, 100, None, False,
    ),
    "two classes, one retained, all right": ({1: {1: 30}}, 2, None, False),
    "two classes, one retained, weak": ({1: {1: 9, 0: 21}}, 2, None, False),
    "two classes, the retained one swallowed by one ten times larger": ({1: {0: 30}}, 2, [1000, 100], False),
    "two classes, the retained one swallowed by one that is gone": ({1: {0: 30}}, 2, [0, 100], False),
    "a forgotten giant swallows many classes": (
        {k: {0: 19, k: 1} for k in range(1, 10)}, 10, [5000] + [100] * 9, True,
    ),
    "a retained giant swallows all others": (
        {0: {0: 40}, **{k: {0: 40} for k in range(1, 9)}}, 10, [5000] + [100] * 9, True,
    ),
    "a small class lost to a giant that is forgotten, the others right": (
        {1: {0: 20}, **diagonal(range(2, 10))}, 10, [5000, 100] + [800] * 8, False,
    ),
    "two classes that are taken for each other at times": (
        {1: {1: 8, 2: 12}, 2: {2: 11, 1: 9}, **diagonal(range(3, 10))}, 10, None, False,
    ),
    "one class that another swallows": ({1: {2: 20}, **diagonal(range(2, 10))}, 10, None, False),
    "a few images, badly answered": ({1: {1: 1, 2: 3}, 2: {2: 2, 1: 2}}, 3, None, False),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_what_may_be_honest_passes(name: str) -> None:
    answers, classes, training, ranked = FITS[name]
    assert judged(answers, classes, training, ranked=ranked).kind == "fits"


def shifted(classes: Sequence[int], count: int, right: int = 20) -> dict[int, dict[int, int]]:
    """Classes whose images are on the output after their own, but for a few that are anywhere."""
    return {k: {(k + 1) % count: right, (k + 3) % count: 20 - right} for k in classes}


MOVED: dict[str, tuple[Answers, int]] = {
    "all, in a circle": (shifted(range(10), 10), 10),
    "all but the forgotten one": (shifted([0, 1, 2, 3, 5, 6, 7, 8, 9], 10), 10),
    "a model that is right in two of three": (shifted([0, 1, 2, 3, 5, 6, 7, 8, 9], 10, right=14), 10),
    "two retained classes exchanged": ({1: {2: 20}, 2: {1: 20}, **diagonal(range(3, 10))}, 10),
    "a retained class exchanged with the forgotten one": ({1: {0: 20}, **diagonal(range(2, 10))}, 10),
    "two classes": ({1: {0: 30}}, 2),
}


@pytest.mark.parametrize("name", MOVED)
def test_outputs_in_another_order_are_found(name: str) -> None:
    answers, classes = MOVED[name]
    finding = judged(answers, classes)
    assert finding.kind == "moved"
    wrong = {label: max(outputs, key=lambda o: outputs[o]) for label, outputs in answers.items()}
    assert {m.label: m.output for m in finding.moves} == {k: v for k, v in wrong.items() if k != v}


CHANCE: dict[str, tuple[Answers, int]] = {
    "always the same retained class": ({k: {3: 20} for k in range(1, 10)}, 10),
    "always the forgotten class": ({k: {0: 20} for k in range(1, 10)}, 10),
    "two retained classes, one answer": ({1: {0: 20}, 2: {0: 20}}, 3),
    "anything": ({k: dict.fromkeys(range(10), 2) for k in range(1, 10)}, 10),
    "always the same among few retained of many": ({k: {3: 20} for k in range(3, 6)}, 10),
}


@pytest.mark.parametrize("name", CHANCE)
def test_guessing_is_found(name: str) -> None:
    answers, classes = CHANCE[name]
    finding = judged(answers, classes)
    assert finding.kind == "chance"
    assert finding.accuracy <= finding.limit


def test_a_model_that_says_the_same_of_everything_is_chance_also_where_a_class_is_far_larger() -> None:
    assert judged({k: {0: 20} for k in range(1, 10)}, 10, [5000] + [100] * 9).kind == "chance"


def test_the_figures_are_the_formulas() -> None:
    finding = judged({1: {1: 10, 2: 10}, 2: {2: 10, 1: 10}}, 10)
    assert (finding.images, finding.accuracy, finding.chance) == (40, 0.5, 0.5)  # 1/2 1/2 + 1/2 1/2
    assert finding.limit == pytest.approx(0.5 + 3 * (0.25 / 40) ** 0.5)


def counts(labels: Tensor) -> list[int]:
    return torch.bincount(labels[drawn_alike(labels)]).tolist()


def test_the_draw_takes_all_classes_alike_and_the_same_rows_each_time() -> None:
    labels = torch.arange(4).repeat_interleave(torch.tensor([500, 500, 7, 500]))
    assert counts(labels) == [126, 126, 7, 125]
    assert torch.equal(drawn_alike(labels), drawn_alike(labels))
    assert counts(torch.arange(100).repeat(50)) == [5] * 100
    assert sum(counts(torch.arange(1000).repeat(3))) == 640
    assert counts(torch.tensor([2, 2, 0])) == [1, 0, 2]
