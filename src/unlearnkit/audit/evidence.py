"""Defines Evidence, the record of what each model does on the data, from which every metric is computed.

Per-sample evidence can be personal data: it stays in memory, and only aggregates are written.

Shapes: n samples of a part, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.reading import ModelName, Spent, Work
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part

Want = Literal["outputs", "features", "weights", "relearn", "return", "attacks", "random", "shadows", "cost"]
Tier = Literal["E3", "E2", "E1", "E0"]
HEAD = "head"  # name of the features that enter the classifier head


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """One model's outputs on one part of the data, kept on the CPU.

    Args:
        logits: (n, K) float32.
        labels: (n,) int64.
        sampled_from: size of the part that the n samples were drawn from.
        features: pooled features (n, D) float32 by layer, from the images to the head's input; the last is `HEAD`.
            Every model has the same layers, and every model of an audit is seen on the same samples.
    """

    logits: Tensor
    labels: Tensor
    sampled_from: int
    features: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        logits: Tensor | Sequence[Sequence[float]],
        labels: Tensor | Sequence[int],
        features: Mapping[str, Tensor] | None = None,
    ) -> Self:
        """Return the outputs on a whole part, from tensors or lists; for trying a metric by hand."""
        logits_nk, labels_n = torch.as_tensor(logits, dtype=torch.float32), torch.as_tensor(labels, dtype=torch.int64)
        return cls(logits=logits_nk, labels=labels_n, sampled_from=len(labels_n), features=features or {})

    @property
    def predictions(self) -> Tensor:
        """Predicted class of each sample, (n,) int64."""
        return self.logits.argmax(dim=1)


@dataclass(frozen=True, kw_only=True)
class Relearning:
    """How fast a model relearns the forgotten classes, starting from a newly fitted head.

    Args:
        forget_accuracy, retain_accuracy: test accuracy after so many steps, in [0, 1].
        goal_forget, goal_retain: accuracies to reach, the original's less the margin. The curves end where both are
            reached twice running, or at the cap.
    """

    forget_accuracy: Mapping[int, float]
    retain_accuracy: Mapping[int, float]
    goal_forget: float
    goal_retain: float

    @property
    def missing_forget(self) -> dict[int, float]:
        """Accuracy still missing to the goal on forgotten data, by step; 0 or less where the goal is met."""
        return {step: self.goal_forget - accuracy for step, accuracy in self.forget_accuracy.items()}

    @property
    def missing(self) -> dict[int, float]:
        """The larger of what is missing to the two goals, by step.

        Not their mean: a model that answers everything with the forgotten class would have more than enough of one.
        """
        lacks = self.missing_forget
        return {step: max(lack, self.goal_retain - self.retain_accuracy[step]) for step, lack in lacks.items()}


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """Test accuracies, in [0, 1], of a model after an attack that trains it."""

    forget: float
    retain: float

    @property
    def balanced(self) -> float:
        """Mean of both accuracies; a model that predicts the forgotten class for everything gains nothing in it."""
        return (self.forget + self.retain) / 2


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """Accuracies after training a model on a few samples of every class, the forgotten ones among them.

    Args:
        few_shot: by the number of samples of every class.
        samples: forgotten and retained test samples behind each accuracy.
    """

    few_shot: Mapping[int, Recovered]
    samples: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Returned:
    """Accuracies on forgotten test data after training on retained samples alone, in [0, 1].

    Args:
        before: with BatchNorm's statistics estimated anew from retained samples, and no step.
        after: by the rate and the number of steps.
        samples: forgotten test samples behind each accuracy.
    """

    before: float
    after: Mapping[tuple[float, int], float]
    samples: int


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """Outputs of a network of the original's architecture with randomly drawn weights.

    Args:
        outputs: of the forgotten parts, on the same samples as every model's.
        drawn: share of its weights that could be drawn anew.
    """

    outputs: Mapping[Part, Outputs]
    drawn: float


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Everything that was observed of one model.

    Args:
        name: `original`, `unlearned` or `retrained`.
        replicate: which of several retrained models, from 0.
        outputs: logits per part; a part without samples is not in it.
        distances: L2 distance of every layer to the original.
        unchanged: share of its weights that are bitwise the original's.
        relearning: the relearning run, or None where the parts it needs are empty.
        relearn_failure: why the relearning run failed, where it did.
        cost: total cost of making the model, as in `cost.json`, where known.
        returned: training on retained samples alone, or None where the parts it needs are empty.
        return_failure: why it failed, where it did.
        attacks: training on few samples, or None where the parts it needs are empty.
        attack_failure: why that failed, where it did.
    """

    name: ModelName
    replicate: int = 0
    outputs: Mapping[Part, Outputs] = field(default_factory=dict)
    distances: Mapping[str, float] | None = None
    unchanged: float | None = None
    relearning: Relearning | None = None
    relearn_failure: Doubt | None = None
    cost: Mapping[str, Any] | None = None
    returned: Returned | None = None
    return_failure: Doubt | None = None
    attacks: Attacks | None = None
    attack_failure: Doubt | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that was observed of all models; metrics read nothing else.

    Args:
        request: what was to be forgotten.
        subjects: the models.
        tier: what there is of the forgotten classes. E3: training samples; E2: held-out samples; E1: stand-ins of
            another origin; E0: their ids alone.
        random: a network that knows nothing, where a metric wants one.
        shadows: outputs of models from which the same method removed the same classes, each made from an original of
            its own, on the same samples as every model's; no reading is about them, they are an attacker's.
        kinds: kinds of evidence that the metrics asked for.
        spent: what each part of gathering it cost.
    """

    request: ResolvedRequest
    subjects: tuple[Subject, ...]
    tier: Tier = "E0"  # the lowest tier, whose verdict never passes; whoever makes evidence by hand states a higher one
    random: Untrained | None = None
    shadows: tuple[Mapping[Part, Outputs], ...] = ()
    kinds: frozenset[Want] = frozenset()
    spent: Mapping[Work, Spent] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *subjects: Subject,
        classes: Sequence[str],
        forget: Sequence[str],
        random: Untrained | None = None,
        shadows: Sequence[Mapping[Part, Outputs]] = (),
    ) -> Self:
        """Return evidence that was made by hand, as in the metrics' examples; its tier is E0, so it never passes.

        Args:
            subjects: the models.
            classes: names of all classes, in the order of the logits.
            forget: names of those to forget.
            random, shadows: as in the class.

        >>> seen = Outputs.of(logits=[[2.0, 0.0], [0.0, 1.0]], labels=[0, 1])
        >>> model = Subject(name="unlearned", outputs={Part.FORGET_TEST: seen})
        >>> Evidence.of(model, classes=["cat", "dog"], forget=["dog"]).request.forget
        (1,)
        """
        request = ResolvedRequest(
            forget=tuple(list(classes).index(name) for name in forget), already_forgotten=(), classes=tuple(classes)
        )
        return cls(request=request, subjects=subjects, random=random, shadows=tuple(shadows))

    def named(self, name: ModelName) -> list[Subject]:
        """Return all models of one name."""
        return [s for s in self.subjects if s.name == name]


def reached_at(missing: Mapping[int, float]) -> int | None:
    """Return the first measured step that meets the goal, if the next measured step, where there is one, meets it too.

    A retrained model stays for long just below the goal; one lucky measurement there is not yet knowledge.

    Args:
        missing: goal less accuracy, by measured step, ascending.
    """
    steps = list(missing)
    for step, following in zip(steps, [*steps[1:], steps[-1]] if steps else [], strict=True):
        if missing[step] <= 0 and missing[following] <= 0:
            return step
    return None
