"""What a run must leave as it was: snapshots of a model and of the random state, and a run on guarded data."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from canonical import (
    CPU,
    METHODS,
    MODELS,
    REQUESTS,
)
from unlearnkit.methods import Unlearned, unlearn
from unlearnkit.request import ForgetRequest


@dataclass(frozen=True)
class Snapshot:
    """Everything about a model that a run must not change."""

    tensors: dict[str, Tensor]
    flags: dict[str, bool]
    modes: dict[str, bool]
    gradients: dict[str, Tensor | None]
    hooks: int

    @classmethod
    def of(cls, model: nn.Module) -> Snapshot:
        return cls(
            tensors={k: v.detach().clone() for k, v in model.state_dict().items()},
            flags={k: p.requires_grad for k, p in model.named_parameters()},
            modes={k: m.training for k, m in model.named_modules()},
            gradients={k: None if p.grad is None else p.grad.clone() for k, p in model.named_parameters()},
            hooks=count_hooks(model),
        )


def assert_same(before: Snapshot, after: Snapshot) -> None:
    assert_same_tensors(before.tensors, after.tensors)
    assert before.flags == after.flags
    assert before.modes == after.modes
    assert before.hooks == after.hooks
    for name, gradient in before.gradients.items():
        assert (gradient is None) == (after.gradients[name] is None), name
        assert gradient is None or torch.equal(gradient, after.gradients[name]), name


def assert_same_tensors(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert tensor.dtype == b[name].dtype, name
        assert torch.equal(tensor, b[name]), name


def same_tensors(a: nn.Module, b: nn.Module) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def count_hooks(model: nn.Module) -> int:
    kinds = [k for k in vars(model) if "_hooks" in k]
    assert "_forward_hooks" in kinds
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def random_state() -> tuple[Any, ...]:
    name, keys, position, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), name, keys.tolist(), position, *rest


def run(method: str, model: nn.Module, setting: str, request_name: str, seed: int = 5) -> Unlearned:
    """Forget on data whose forgotten rows cannot be decoded, unless the method declares them."""
    forget, entry = REQUESTS[request_name], METHODS[method]
    data = MODELS[setting].data(forbidden=() if entry.reads_forget else forget)
    request, factory = ForgetRequest(classes=forget), MODELS[setting].fresh
    return unlearn(model, entry.method, data, request, seed=seed, runtime=CPU, factory=factory)
