"""Builds a newly initialised model of the same architecture; tensors that no training changes keep their values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unlearnkit.errors import ModelError
from unlearnkit.methods.method import Context
from unlearnkit.runtime.randomness import isolated_randomness


def fresh_model(model: nn.Module, ctx: Context, name: str) -> nn.Module:
    """Build the architecture of `model` with new weights, drawn from the global generator, which the harness seeds.

    Args:
        model: the original, to compare with.
        ctx: the run.
        name: of the method, for messages.

    Raises:
        ModelError: there is no factory, or it builds another architecture, or keeps some of the original's weights.
    """
    if ctx.factory is None:
        raise ModelError(
            f"Expected a factory for {name}, which builds the model anew, but got none; "
            "give unlearn(..., factory=...), a function that returns a fresh model of the same architecture."
        )
    fresh = ctx.factory()
    theirs, ours = ({key: value.shape for key, value in m.state_dict().items()} for m in (model, fresh))
    if theirs != ours:
        other = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
        raise ModelError(
            f"Expected the factory to build the same architecture, but it differs in {other[0]}; "
            "give the factory that built the model."
        )
    kept = _kept(model, fresh.state_dict(keep_vars=True))
    if kept:
        # The original may have been drawn by this run's seed, as `train` and `forget` have the same one by default.
        # What no training moved since (a layer that is not used; a model that was never trained) is then equal though
        # nothing was kept. It is another tensor at another seed; one that was copied or loaded is the same again.
        with isolated_randomness((torch.initial_seed() + 1) % 2**31):
            again = ctx.factory().state_dict(keep_vars=True)
        kept = [key for key in _kept(model, again) if key in kept]
    if kept:
        more = f" (and {len(kept) - 1} more)" if len(kept) > 1 else ""
        raise ModelError(
            f"Expected the factory to draw fresh weights for {name}, but {kept[0]}{more} equals the original's; give a "
            "factory that builds a new model each time, without copying or loading what was trained, and without a "
            "seed of its own. What is fixed on purpose (a table; pretrained layers that were not trained on these "
            "classes) is to be frozen by requires_grad_(False), in the original and in what the factory builds."
        )
    return fresh


def _kept(model: nn.Module, fresh: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors of `fresh` that training can change but that equal those of `model`.

    A single one is too many: a network whose head alone was drawn anew still knows the classes.

    - A parameter that is frozen in both is taken for one that no training moved: a table, pretrained layers that the
      factory loads on purpose. Frozen on one side alone it is not: there is nothing to tell a thawed pretrained layer
      from a trained one that somebody copied and froze.
    - Of the buffers, running statistics are learned from the data, unless all parameters of their layer are frozen.
      Others, such as tables, are the same in every model.
    - What is constant says nothing: biases of 0, norms' scales of 1 and empty tokens begin alike in every model, and an
      original that was trained has moved them, or does not use them.

    Args:
        model: the original.
        fresh: state dict, with the parameters themselves, of a model of the same architecture.
    """
    original = model.state_dict(keep_vars=True)
    free = {key for key, value in fresh.items() if value.requires_grad or original[key].requires_grad}
    parameters = {key for key, value in fresh.items() if isinstance(value, nn.Parameter)}
    still = {_layer(key) for key in parameters} - {_layer(key) for key in free}
    return [
        key
        for key, value in fresh.items()
        if (key in free or (key.endswith(("running_mean", "running_var")) and _layer(key) not in still))
        and torch.equal(value, original[key].to(value))
        and not _constant(value)
    ]


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def _constant(value: Tensor) -> bool:
    return bool((value.flatten() == value.flatten()[:1]).all())
