"""Finds which weights of a file belong to a model: the one prefix before the model's own names, and what is left over.

Wrappers put a word before every name (`module.`, `_orig_mod.`, `model.`, `_module.`), and trainers leave counters and
losses beside the weights. Everything is decided by the names that the built model has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearnkit.errors import SeveralWeightsError, WeightsError

# Counters of averaging and profiling, which belong to no layer: the last part of their names, one number at most.
COUNTERS = ("n_averaged", "num_updates", "decay", "total_ops", "total_params", "ema_updates", "global_step")
LOSSES = ("criterion", "criteria", "loss", "loss_fn", "loss_func", "loss_function")  # first parts of names
OPTIONAL = "num_batches_tracked"  # files of before PyTorch 0.4.1 lack it; it counts steps, and evaluation needs none


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The weights of a file by the model's own names.

    Args:
        given: the tensors that belong to the model, by its names.
        prefix: what was taken off, with its dot.
        dropped: names in the file that are known to be no weights, and those that the caller left out by a key.
        unexpected: names in the file that nothing is known of.
    """

    given: dict[str, Tensor]
    prefix: str = ""
    dropped: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    def note(self, path: object, place: str) -> str | None:
        """One sentence on what was taken from the file and what was left, None where there is nothing to say."""
        read = [
            *([f"read under the key {place}"] if place else []),
            *([f"the prefix {self.prefix} taken off"] if self.prefix else []),
            *([f"left out {_some(self.dropped)}"] if self.dropped else []),
        ]
        return f"weights of {path}: {', '.join(read)}" if read else None


def match_keys(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    tied: Mapping[str, str],
    asked: str | None,
    path: object,
    place: str,
) -> Matched:
    """Find the prefix that maps the model's names onto the file's.

    Args:
        state: the file's tensors.
        wanted: the model's own.
        tied: for names of shared weights the first name of the same weight, either of which will do.
        asked: the prefix, where the caller said it, without the dot; empty for none.
        path, place: of the file, for messages.

    Raises:
        WeightsError: several prefixes fit and their weights differ, or the one asked for is not there.
    """
    counts = _counted(state, wanted)
    if asked is not None:
        prefix = f"{asked}." if asked else ""
        if not counts[prefix]:
            others = ", ".join(repr(each.rstrip(".")) for each, _ in counts.most_common(3)) or "no other"
            raise WeightsError(
                f"Expected names of the model after {prefix!r} in {path}, but there are none; weights of the model lie "
                f"under {others}, so name one of these with --weights-key, or leave it out."
            )
        return _taken(state, wanted, prefix, others_dropped=True)
    whole = [prefix for prefix in counts if _is_whole(state, wanted, tied, prefix)]
    fitting = [prefix for prefix in whole if _has_shapes(state, wanted, prefix)] or whole
    if len(fitting) > 1 and not all(_same(state, wanted, fitting[0], each) for each in fitting[1:]):
        keys = [_key(place, prefix) for prefix in fitting]
        raise SeveralWeightsError(
            f"Expected one set of weights, but {path} holds several that fit the model ({', '.join(keys)}); "
            f"name the one to read with --weights-key {keys[0]}.",
            tuple(keys),
        )
    if fitting:
        return _taken(state, wanted, fitting[0], doubled=fitting[1:])
    # nothing fits: the prefix that most names have says what is missing, unless that is a chance few
    best, count = max(counts.items(), key=lambda item: (item[1], item[0] == ""), default=("", 0))
    return _taken(state, wanted, best if 2 * count >= len(wanted) else "")


def wrapper_hint(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Where no name of the file is one of the model's: which wrapper stands before the names of either."""
    if any(key in wanted for key in state):
        return None
    inner = {key.partition(".")[2] for key in wanted}
    outer = {key.partition(".")[0] for key in wanted}
    if len(outer) == 1 and inner <= set(state):
        return f"the model wraps its layers in {outer.pop()!r} and the file does not: name the inner model with --model"
    first = sorted({key.partition(".")[0] for key in state})
    if len(first) == 1:
        return f"all names in the file begin with {first[0]!r}, and no name of the model follows"
    return None


def _counted(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Counter[str]:
    """For every prefix in the file, how many names of the model follow it."""
    counts: Counter[str] = Counter()
    for key in state:
        start = 0
        while True:
            if key[start:] in wanted:
                counts[key[:start]] += 1
            dot = key.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    return counts


def _is_whole(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tied: Mapping[str, str], prefix: str) -> bool:
    present = {tied.get(key, key) for key in wanted if prefix + key in state}
    return all(tied.get(key, key) in present or _is_optional(key) for key in wanted)


def _has_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str) -> bool:
    return all(state[prefix + key].shape == wanted[key].shape for key in wanted if prefix + key in state)


def _same(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], one: str, other: str) -> bool:
    """Whether two prefixes hold the same weights, as where a module has two names."""
    keys = [key for key in wanted if one + key in state or other + key in state]
    return all(
        one + key in state and other + key in state and torch.equal(state[one + key], state[other + key])
        for key in keys
    )


def _taken(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    prefix: str,
    *,
    doubled: Sequence[str] = (),
    others_dropped: bool = False,
) -> Matched:
    given = {key: state[prefix + key] for key in wanted if prefix + key in state}
    used = {each + key for each in (prefix, *doubled) for key in wanted}
    rest = [key for key in state if key not in used]
    dropped = [
        key
        for key in rest
        if _is_leftover(key, state[key]) or (others_dropped and not (prefix and key.startswith(prefix)))
    ]
    gone = set(dropped)
    return Matched(
        given=given, prefix=prefix, dropped=tuple(dropped), unexpected=tuple(key for key in rest if key not in gone)
    )


def _is_leftover(key: str, value: Tensor) -> bool:
    counter = key.rpartition(".")[2] in COUNTERS and value.numel() <= 1
    return counter or ("." in key and key.partition(".")[0] in LOSSES)


def _is_optional(key: str) -> bool:
    return key.rpartition(".")[2] == OPTIONAL


def _key(place: str, prefix: str) -> str:
    """What --weights-key is to be given for a prefix in a place of the file."""
    name = prefix.rstrip(".")
    return f"{place}.{name}" if place else name or "."


def _some(keys: tuple[str, ...], most: int = 3) -> str:
    shown = ", ".join(keys[:most])
    return shown + (f" and {len(keys) - most} more" if len(keys) > most else "")
