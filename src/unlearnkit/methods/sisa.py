"""SISA: retrains what the forgotten samples have touched, and nothing else; exact, for models trained in shards.

Idea. `train --shards S --slices R` divides the training data into S shards by a seeded draw that looks at no image, and
trains a network on each, in R steps that add a slice of the shard at a time, keeping the state after each. A sample has
then touched the states of its own shard from its slice on. A request goes back, in every shard that it touches, to the
state before the first slice that has one of its samples, and trains on from there without them. All other networks stay
as they are, bit for bit. The result is, bit for bit on one thread, what the same training gives that never had the
samples: exact unlearning, by its definition.

Update: for each shard s with forgotten samples, r the first slice that has one: theta_s,i = train(theta_s,i-1 on slices
1 to i of s without them), i = r to R, with the seeds of the first training; the logits are the mean over the shards.

Reads: retain_train, of it the touched shards alone.

Hyperparameters: none of its own. Shards, slices, seed and recipe are those of the training, recorded with the weights.

Cost per run: the share of the full training that was touched, in the notes as passes. One sample costs 1/S of a full
training at most, and on average about 2/3 of that with many slices. A whole class touches the first slice of every
shard, so a request for a class costs what retraining from scratch costs.

Deviations from the paper: logits are averaged where it counts votes, which has no losses to audit (the networks'
probabilities are then averaged geometrically). Each slice's training is a run of the whole recipe, schedule and
optimiser begun anew, over 2 e / (R + 1) epochs.

When it fails: a shard has too few samples, so that each network is worse than one that is trained on all; accuracy
falls with S. A class is asked for. The states kept, S times R networks, know what is to be forgotten: delete the old
folder.

Source: L. Bourtoule et al., "Machine Unlearning", IEEE Symposium on Security and Privacy 2021 (arXiv 1912.03817),
sections IV and V.

Example: a model that was trained as a whole is refused.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> uk.unlearn(model, uk.methods.make_method("sisa"), data, uk.ForgetRequest(classes=("3",)), seed=0)
    Traceback (most recent call last):
    unlearnkit.errors.ModelError: Expected a model that was trained with `unlearnkit train --shards`, but ...
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn

from unlearnkit.class_names import listed
from unlearnkit.errors import ConfigError, DataError, ModelError, RequestError, WeightsError
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.models import build_model, is_trusted_name
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.models.ensemble import Ensemble
from unlearnkit.models.names import base_name, shards_of
from unlearnkit.models.reading import read_state
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.sharding import ShardedTraining, ShardTrainer, State

SLICES = "slices"  # folder beside the weights, with the states after every slice


class SISA(ConfiguredMethod):
    """Retraining of the touched shards of a model that was trained in shards."""

    name: ClassVar[str] = "sisa"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    weights: str | None = Field(default=None, description="model.safetensors of the training; `forget` knows it")
    model: str | None = Field(default=None, description="architecture, as `--model`; none: the one recorded")

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Train the touched shards again from the state before, and put the ensemble together."""
        if not isinstance(model, Ensemble) or self.weights is None:
            what = "got another model" if not isinstance(model, Ensemble) else "its weights file is not given"
            raise _unfit(what)
        checkpoint = read_checkpoint(self.weights)
        plan = _plan(checkpoint, ctx)
        name = self.model or (checkpoint.card.model if checkpoint.card else "")
        if (shards_of(name) or (0,))[0] != plan.shards or not (self.model or is_trusted_name(name)):
            raise _unfit(f"the architecture of {checkpoint.path} is {name}")
        width, channels = len(ctx.request.classes), ctx.shape[0]
        build = partial(build_model, base_name(name), num_classes=width, in_channels=channels)
        parts = [(shard, number) for shard in range(plan.shards) for number in range(plan.slices)]
        fresh = build()
        states = {part: _state(checkpoint.path, *part, like=fresh) for part in parts}
        _check_states(model, assembled(fresh, [states[s, plan.slices - 1] for s in range(plan.shards)], width), self)
        first = plan.touched(ctx.view.split[Part.FORGET_TRAIN][~_held_out(ctx)])
        trainer = ShardTrainer(plan=plan, view=ctx.view, build=build, runtime=ctx.runtime, log=ctx.log)
        passes, full = plan.passes(trainer.rows, first), plan.passes(trainer.rows)
        share = passes / max(1, full)
        ctx.log.notes["sisa"] = {"touched": len(first), "shards": plan.shards, "passes": passes, "retraining": full}
        ctx.log.progress.say(
            f"{len(first)} of {plan.shards} shards are touched: {passes:,} sample passes, {share:.1%} of the {full:,} "
            "of training all anew" + (", so this is no cheaper" if passes == full else "")
        )
        for shard, start in first.items():
            before = states[shard, start - 1] if start else None
            for number, state in enumerate(trainer.train(shard, first=start, start=before), start=start):
                states[shard, number] = state
        ctx.log.files |= {slice_name(*key): save(state) for key, state in states.items()}
        device = next(model.parameters())
        return assembled(fresh, [states[s, plan.slices - 1] for s in range(plan.shards)], width).to(device)


def slice_name(shard: int, number: int) -> str:
    """Return the name in a run folder of the state of a shard after a slice; both count from 0, the name from 1."""
    return f"{SLICES}/{shard + 1}-{number + 1}.safetensors"


def _state(weights: Path, shard: int, number: int, *, like: nn.Module) -> State:
    """Return the state of a shard after a slice that lies beside these weights.

    Raises:
        WeightsError: it is not there, or is of another network than `like`.
    """
    path = weights.parent / slice_name(shard, number)
    if not path.is_file():
        raise WeightsError(
            f"Expected the state of a shard in {path}, but there is none; name the weights in the run folder of "
            "`unlearnkit train --shards`, not a copy of them."
        )
    state, expected = read_state(path).state, like.state_dict()
    if {key: value.shape for key, value in state.items()} != {key: value.shape for key, value in expected.items()}:
        raise WeightsError(f"Expected the state of {type(like).__name__} in {path}, but it is another's; train anew.")
    return state


def assembled(network: nn.Module, states: list[State], num_classes: int) -> Ensemble:
    """Return the ensemble of the shards' networks.

    Args:
        network: of their architecture; it is not changed.
        states: of the networks, in order.
        num_classes: width of the output.
    """
    networks = [copy.deepcopy(network) for _ in states]
    for each, state in zip(networks, states, strict=True):
        each.load_state_dict(state)
    return Ensemble(networks, num_classes)


def _plan(checkpoint: Checkpoint, ctx: Context) -> ShardedTraining:
    """Return the recorded plan, if this run can follow it.

    Raises:
        ModelError: none is recorded.
        DataError: the data has other rows than the training had.
        RequestError: something counts as forgotten that these weights know.
        ConfigError: there are several processes, or a loss of the caller's own.
    """
    card = checkpoint.card
    if card is None or card.sharded is None:
        raise _unfit(f"{checkpoint.path} records no shards")
    plan = ShardedTraining(**card.sharded)
    split = ctx.view.split
    count = sum(len(rows) for part, rows in split.rows.items() if part.side == "train") + len(split.excluded["train"])
    if count != plan.rows:
        raise DataError(
            f"Expected the {plan.rows} training rows that the shards were drawn from, but the data has {count}; give "
            "the data of the training, of which samples are told by their row."
        )
    unknown = [name for k in ctx.request.already_forgotten if (name := ctx.request.classes[k]) not in card.forgotten]
    if unknown:
        raise RequestError(
            f"Expected classes forgotten earlier to be those that the weights record, but they know "
            f"{listed(unknown)}; ask for them by --forget."
        )
    if ctx.runtime.processes.count > 1 or ctx.criterion is not None:
        raise ConfigError(
            "Expected one process and the loss of `train` for sisa, which repeats a training bit for bit; start it "
            "without a launcher, and without a criterion."
        )
    return plan


def _held_out(ctx: Context) -> Tensor:
    """Mark rows to forget that no training had, (k,) bool."""
    return torch.isin(ctx.view.split[Part.FORGET_TRAIN], ctx.view.split.never_learned)


def _check_states(model: nn.Module, kept: Ensemble, method: SISA) -> None:
    found, expected = model.state_dict(), kept.state_dict()
    same = found.keys() == expected.keys()
    if not same or not all(torch.equal(found[key].cpu().float(), value.float()) for key, value in expected.items()):
        raise WeightsError(
            f"Expected the states in {SLICES}/ beside {method.weights} to be those of the model, but they are not; "
            "name the weights as `unlearnkit train --shards` or `forget --method sisa` wrote them."
        )


def _unfit(why: str) -> ModelError:
    return ModelError(
        f"Expected a model that was trained with `unlearnkit train --shards`, but {why}; train one so, or choose "
        "another method."
    )
