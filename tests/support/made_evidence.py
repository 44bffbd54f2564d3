"""Evidence made by hand, without a model, and the one reading that a test asks for."""

from __future__ import annotations

from typing import Any

import torch

from canonical import CLASSES
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.reading import Reading
from unlearnkit.request import ResolvedRequest

REQUEST = ResolvedRequest(forget=(2,), already_forgotten=(), classes=CLASSES)


def random_outputs(seed: int, n: int = 200, labels: tuple[int, ...] = (0, 1, 3), skill: float = 1.0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    known = torch.tensor(labels)[torch.randint(0, len(labels), (n,), generator=generator)]
    logits = torch.randn(n, 4, generator=generator)
    logits[torch.arange(n), known] += skill
    return Outputs(logits=logits, labels=known, sampled_from=n)


def subject(name: str = "unlearned", replicate: int = 0, **given: Any) -> Subject:
    defaults = {"outputs": {}, "distances": None, "relearning": None, "relearn_failure": None, "cost": None}
    return Subject(name=name, replicate=replicate, **{**defaults, **given})  # type: ignore[arg-type]


def evidence(*subjects: Subject) -> Evidence:
    return Evidence(request=REQUEST, subjects=subjects)


def one(readings: list[Reading], metric: str, **wanted: Any) -> Reading:
    found = [
        r for r in readings if r.metric == metric and all(getattr(r, key) == value for key, value in wanted.items())
    ]
    assert len(found) == 1, found
    return found[0]
