"""Collateral damage on constructed outputs, where the answer is known."""

from __future__ import annotations

import pytest
import torch

from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metrics.collateral import collateral, nearest_classes
from unlearnkit.audit.reading import ModelName, wilson
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part

# rows: what is said of ten samples each of classes 0 to 6; class 6 looks most like the forgotten class 7, then 2
LEANING = {0: 0.0, 1: 0.5, 2: 2.0, 3: 0.1, 4: 1.0, 5: 0.2, 6: 3.0}
CLASSES = tuple("abcdefgh")


def said(wrong: dict[int, int], answer: int) -> Outputs:
    """Logits by which `wrong[k]` of the ten samples of class k are taken for `answer`."""
    rows, labels = [], []
    for k, leaning in LEANING.items():
        for i in range(10):
            row = torch.zeros(8)
            row[k], row[7] = 5.0, leaning
            if i < wrong.get(k, 0):
                row[answer] = 9.0
            rows.append(row)
            labels.append(k)
    return Outputs(logits=torch.stack(rows), labels=torch.tensor(labels), sampled_from=70)


def subject(name: ModelName, outputs: Outputs) -> Subject:
    return Subject(
        name=name,
        replicate=0,
        outputs={Part.RETAIN_TEST: outputs},
        distances=None,
        relearning=None,
        relearn_failure=None,
        cost=None,
    )


def test_the_nearest_classes_lean_most_to_the_forgotten_one() -> None:
    assert nearest_classes(said({}, 0), [7]) == [6, 2, 4]
    few = said({}, 0)
    keep = torch.isin(few.labels, torch.tensor([1, 2, 3]))
    cut = Outputs(logits=few.logits[keep], labels=few.labels[keep], sampled_from=30)
    assert nearest_classes(cut, [7]) == [2]  # no more than half of three


def test_accuracy_on_them_and_share_taken_for_the_forgotten_class() -> None:
    request = ResolvedRequest(forget=(7,), already_forgotten=(), classes=CLASSES)
    evidence = Evidence(
        request=request,
        subjects=(
            subject("original", said({6: 2}, 7)),
            subject("unlearned", said({6: 5, 2: 1, 0: 9}, 1)),
        ),
    )
    found = {(r.metric, r.model): r for r in collateral(evidence)}
    damage = found["collateral_accuracy", "unlearned"]
    assert damage.value == pytest.approx((5 + 9 + 10) / 30)
    assert damage.interval == wilson(24, 30)
    assert damage.series == {"g": 0.5, "c": 0.9, "e": 1.0}
    assert found["forgotten_share", "original"].value == pytest.approx(2 / 70)
    assert found["forgotten_share", "unlearned"].value == 0.0
