"""Fits the weights of a file into a model, and says why where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from unlearnkit.errors import WeightsError
from unlearnkit.models.key_match import OPTIONAL, Matched, match_keys, wrapper_hint


def matched_state(
    model: nn.Module, state: Mapping[str, Tensor], path: Path, *, place: str = "", prefix: str | None = None
) -> Matched:
    """Return the weights of a file by the names that they have in `model`, whatever their shapes; see `match_keys`."""
    wanted = model.state_dict()
    first: dict[tuple[object, ...], str] = {}
    tied = {key: first.setdefault(_place(value), key) for key, value in wanted.items() if value.numel()}
    return match_keys(state, wanted, tied=tied, asked=prefix, path=path, place=place)


def fit_state(
    model: nn.Module, matched: Matched, state: Mapping[str, Tensor], path: Path, fresh_head: str | None
) -> tuple[str, ...]:
    """Copy weights into `model`; see `Checkpoint.load_into`."""
    wanted = model.state_dict()
    given = _tied(matched.given, wanted)
    both = [key for key in wanted if key in given]
    other = [key for key in both if given[key].shape != wanted[key].shape]
    fresh = [key for key in other if fresh_head is not None and key.rpartition(".")[0] == fresh_head]
    same = [key for key in both if key not in other]
    absent = [key for key in wanted if key not in given]
    missing = absent if any(key.rpartition(".")[2] != OPTIONAL for key in absent) else []
    unfit = [key for key in other if key not in fresh]
    problems = [
        ("missing", missing),
        ("unexpected", list(matched.unexpected)),
        ("of another shape", [f"{k} {tuple(given[k].shape)} instead of {tuple(wanted[k].shape)}" for k in unfit]),
        (
            "of another type",
            [
                f"{k} {given[k].dtype} instead of {wanted[k].dtype}"
                for k in same
                if wanted[k].is_floating_point() and not given[k].is_floating_point()
            ],
        ),
        ("tied in the model, but different here", _torn(given, wanted)),
    ]
    found = "; ".join(f"{problem}: {_some(keys)}" for problem, keys in problems if keys)
    if found:
        only_shapes = bool(unfit) and sum(bool(keys) for _, keys in problems) == 1
        advice = _shape_advice(unfit, given, wanted) if only_shapes else None
        if advice is None:
            advice = "check that --model names the architecture that the weights were saved from"
            advice = _key_advice(matched, missing) or wrapper_hint(state, wanted) or advice
        under = f", read with the prefix {matched.prefix} taken off," if matched.prefix else ""
        raise WeightsError(f"Expected weights that fit the model, but {path}{under} does not ({found}); {advice}.")
    converted = {key: given[key].to(wanted[key].dtype) for key in same}
    _check_finite(converted, {key for key, _ in model.named_parameters(remove_duplicate=False)}, path)
    wanted.update(converted)  # the model's own dict, as some architectures ask for the version that it carries
    model.load_state_dict(wanted)
    return (*fresh, *(key for key in absent if key not in missing))


def _shape_advice(unfit: list[str], given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """What to do where nothing differs but the number of outputs, or that of the channels."""
    shapes = [(tuple(given[key].shape), tuple(wanted[key].shape)) for key in unfit]
    if not all(len(theirs) == len(ours) > 0 for theirs, ours in shapes):
        return None
    widths = {(theirs[0], ours[0]) for theirs, ours in shapes}
    if len(widths) == 1 and all(theirs[1:] == ours[1:] for theirs, ours in shapes):
        theirs, ours = next(iter(widths))
        more = f"; its first {ours} need not be those of the data" if theirs > ours else ""
        return (
            f"they have {theirs} outputs, but there are {ours} classes: give --classes FILE with the names of the "
            f"model's {theirs} classes, one on each line in the order of its outputs{more}"
        )
    if len(shapes) == 1 and len(shapes[0][0]) > 1:
        theirs_, ours_ = shapes[0]
        if theirs_[0] == ours_[0] and theirs_[2:] == ours_[2:]:
            return (
                f"their layer {unfit[0].rpartition('.')[0]} takes {theirs_[1]} channels, but it is given {ours_[1]}: "
                + (f"give --channels {theirs_[1]}" if theirs_[1] in (1, 3) else "images are read with 1 or 3 channels")
            )
    return None


def _key_advice(matched: Matched, missing: list[str]) -> str | None:
    """What to do where the whole model is there, and more beside it that nothing is known of."""
    if missing or not matched.unexpected or not matched.given:
        return None
    key = matched.prefix.rstrip(".")
    if not key:
        return None
    return f"if the rest belongs to no part of the model, leave it out with --weights-key {key}"


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _tied(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add missing names of weights that the model shares with a name in the file."""
    present = {_place(wanted[key]): state[key] for key in wanted if key in state and wanted[key].numel()}
    missing = {
        key: present[_place(value)] for key, value in wanted.items() if key not in state and _place(value) in present
    }
    return {**state, **missing}


def _torn(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Return names of weights that the model shares with an earlier name, but that differ in the file."""
    first: dict[tuple[object, ...], str] = {}
    torn = []
    for key in wanted:
        if key in state and wanted[key].numel():
            earlier = first.setdefault(_place(wanted[key]), key)
            if earlier != key and not torch.equal(state[key], state[earlier]):
                torn.append(f"{key} and {earlier}")
    return torn


def _check_finite(state: Mapping[str, Tensor], parameters: set[str], path: Path) -> None:
    """Refuse NaN anywhere, and infinity in parameters; buffers such as attention masks may hold it."""
    for key, value in state.items():
        if value.is_floating_point() and (value.isnan().any() or (key in parameters and value.isinf().any())):
            raise WeightsError(
                f"Expected finite weights, but {key} in {path} has NaN or infinite values; "
                "take the weights of an earlier epoch, or train anew."
            )


def _some(keys: list[str], most: int = 5) -> str:
    shown = ", ".join(keys[:most])
    return shown + (f" and {len(keys) - most} more" if len(keys) > most else "")
