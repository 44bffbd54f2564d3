"""Requests for rows and subclasses: which methods serve them, what these read, and how the others are refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from canonical import CPU, METHODS, MODELS
from unlearnkit import methods
from unlearnkit.errors import RequestError
from unlearnkit.methods import unlearn
from unlearnkit.methods.lotus import LoTUS
from unlearnkit.request import ForgetRequest, Subclass
from unlearnkit.split import Part

# as published; a method that began to declare more would be asked for what it was not made for
SERVE_ROWS = {
    *("retrain", "original", "finetune", "neggrad", "neggrad+", "random-label"),
    *("l1-sparse", "fisher", "ssd", "scrub", "salun", "bad-teacher"),
    *("lfssd", "jit", "ct", "msg", "weight-damage", "scar", "lotus", "sfron", "noisy-finetune", "ntk"),
    *("linear-refit", "newton-removal", "projective-residual", "descent-to-delete", "mixed-linear"),
}
SETTING = MODELS["cnn-grey"]
LABELS = SETTING.data().train.labels
OF = {k: torch.nonzero(k == LABELS).flatten().tolist() for k in range(4)}
MIXED = ForgetRequest(  # rows of two classes, half a class with held-out samples, a whole class; rows gone before
    classes=(3,),
    rows=(*OF[0][:2], OF[1][0]),
    subclasses=(Subclass(name="cat:tabby", train=tuple(OF[2][:5]), test=(0,)),),
    already_forgotten_rows=(OF[0][2], OF[1][1]),
)


def test_the_methods_that_serve_rows_are_these() -> None:
    assert {name for name, kind in methods.METHODS.items() if "rows" in kind.kinds} == SERVE_ROWS
    assert all("classes" in kind.kinds for kind in methods.METHODS.values())
    assert {name for name, kind in methods.METHODS.items() if "subclasses" in kind.kinds} == SERVE_ROWS


@pytest.mark.parametrize("name", sorted(SERVE_ROWS))
def test_a_method_that_serves_rows_reads_what_it_declares_of_them(name: str) -> None:
    data = SETTING.data()
    held = int(torch.nonzero(data.test.labels == 2).flatten()[0])
    request = replace(MIXED, subclasses=(replace(MIXED.subclasses[0], test=(held,)),))
    entry = METHODS[name]
    result = unlearn(SETTING.model(), entry.method, data, request, seed=0, runtime=CPU, factory=SETTING.fresh)
    forgotten = [*request.rows, *request.subclasses[0].train, *OF[3]]
    assert sorted(forgotten) == result.split[Part.FORGET_TRAIN].tolist()
    read = result.access.forget_samples_read(result.split)
    assert read == (len(forgotten) if entry.reads_forget else 0)
    assert not data.train.decoded[list(request.already_forgotten_rows)].any()
    assert bool(data.train.decoded[forgotten].any()) == entry.reads_forget
    assert not data.test.decoded.any()


class Foreign:
    """A method that does not say what it serves."""

    needs: frozenset[Part] = frozenset()

    def run(self, model: torch.nn.Module, _ctx: object) -> torch.nn.Module:
        return model


@pytest.mark.parametrize(
    ("method", "kinds"),
    [
        *((METHODS[name].method, "rows") for name in methods.METHODS if name not in SERVE_ROWS),
        (METHODS["unsir"].method, "subclasses"),
        (Foreign(), "rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_method_that_does_not_serve_rows_is_refused_with_those_that_do(method: methods.Method, kinds: str) -> None:
    part = {"subclasses": MIXED.subclasses} if kinds == "subclasses" else {"rows": MIXED.rows}
    data = SETTING.data()
    with pytest.raises(RequestError, match=f"can forget {kinds}, but .* forgets classes alone.*retrain, finetune"):
        unlearn(SETTING.model(), method, data, ForgetRequest(classes=(3,), **part), seed=0, runtime=CPU)
    assert not data.train.decoded.any()


def test_scar_moves_rows_to_another_class_and_lotus_asks_for_unseen_samples() -> None:
    data, request = SETTING.data(), ForgetRequest(rows=tuple(OF[0][:3]))
    moved = unlearn(SETTING.model(), METHODS["scar"].method, data, request, seed=0, runtime=CPU)
    assert sum(moved.notes["nearest"].values()) == 3
    assert data.classes[0] not in moved.notes["nearest"], "the nearest class of most rows is their own"
    lotus = METHODS["lotus"].method
    assert isinstance(lotus, LoTUS)
    for asked, used in ((request, 1.0), (ForgetRequest(classes=(3,)), 0.0)):
        notes = unlearn(SETTING.model(), lotus, SETTING.data(), asked, seed=0, runtime=CPU).notes
        assert max(notes["temperatures"]) <= math.exp(lotus.alpha * (1 - used * notes["accuracy_unseen"])) + 1e-9
