"""Reads weights that any tool saved, without running code from the file, and fits them into a model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unlearnkit.errors import WeightsError

PICKLED = (".pt", ".pth", ".bin")  # files of torch.save
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")  # where trainers put the weights
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read weights by name, and the metadata; `.pt`, `.pth` and `.bin` files only as tensors, never as code.

    Raises:
        WeightsError: the file is missing, truncated, no safetensors, or a pickle of more than tensors.
    """
    if not os.path.isfile(path):
        found, advice = ("a folder", "the file in it") if os.path.isdir(path) else ("none", "a .safetensors file")
        raise WeightsError(f"Expected a weights file at {path}, but there is {found}; name {advice}.")
    if path.suffix.lower() in PICKLED:
        return _pickled(path), {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"Expected a complete safetensors file, but {path} cannot be read ({error}); "
            "save the weights with safetensors.torch.save_file, or copy the file again."
        ) from error


def fit_state(model: nn.Module, state: Mapping[str, Tensor], path: Path, fresh_head: str | None) -> tuple[str, ...]:
    """Copy weights into `model`; see `Checkpoint.load_into`."""
    model_state = model.state_dict()
    file_state = _tied(_without_prefixes(dict(state), model_state), model_state)
    both = [key for key in model_state if key in file_state]
    other = [key for key in both if file_state[key].shape != model_state[key].shape]
    fresh = [key for key in other if fresh_head is not None and key.rpartition(".")[0] == fresh_head]
    same = [key for key in both if key not in other]
    problems = [
        ("missing", [key for key in model_state if key not in file_state]),
        ("unexpected", [key for key in file_state if key not in model_state]),
        (
            "of another shape",
            [
                f"{k} {tuple(file_state[k].shape)} instead of {tuple(model_state[k].shape)}"
                for k in other
                if k not in fresh
            ],
        ),
        (
            "of another type",
            [
                f"{k} {file_state[k].dtype} instead of {model_state[k].dtype}"
                for k in same
                if model_state[k].is_floating_point() and not file_state[k].is_floating_point()
            ],
        ),
        ("tied in the model, but different here", _torn(file_state, model_state)),
    ]
    found = "; ".join(f"{problem}: {_some(keys)}" for problem, keys in problems if keys)
    if found:
        raise WeightsError(
            f"Expected weights that fit the model, but {path} does not ({found}); "
            "check that --model names the architecture that the weights were saved from."
        )
    converted = {key: file_state[key].to(model_state[key].dtype) for key in same}
    _check_finite(converted, {key for key, _ in model.named_parameters(remove_duplicate=False)}, path)
    model_state.update(converted)  # the model's own dict, as some architectures ask for the version that it carries
    model.load_state_dict(model_state)
    return tuple(fresh)


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        # torch's own text is not shown, as it advises to run the code in the file
        unsupported = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if unsupported is None:
            raise WeightsError(
                f"Expected a complete file of tensors, but {path} is broken, cut short or of another kind "
                f"({type(error).__name__}); copy it again, or, if it is a pickle of more than tensors, which is "
                "refused as reading it can run any code, save the state dict alone where it was made."
            ) from error
        raise WeightsError(
            f"Expected tensors alone, but {path} is a pickle that asks for {unsupported[1]}; it is refused, as reading "
            "it can run any code: convert it where it was made, with "
            'safetensors.torch.save_file(model.state_dict(), "model.safetensors").'
        ) from error
    if _is_state(content):
        return _tensors(content)
    inner = [key for key in CONTAINERS if isinstance(content, Mapping) and _is_state(content.get(key))]
    if len(inner) == 1:
        return _tensors(content[inner[0]])
    if inner:
        raise WeightsError(
            f"Expected one set of weights, but {path} holds several ({', '.join(inner)}); "
            "save the wanted one alone with safetensors.torch.save_file."
        )
    keys = f"the keys {_some([str(key) for key in content])}" if isinstance(content, Mapping) else "no mapping"
    raise WeightsError(
        f"Expected a state dict, or one under {', '.join(CONTAINERS)}, but {path} holds {keys}; "
        'convert it with safetensors.torch.save_file(model.state_dict(), "model.safetensors").'
    )


def _is_state(content: object) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _tensors(content: Mapping[str, Any]) -> dict[str, Tensor]:
    return {key: value.detach() for key, value in content.items()}


def _without_prefixes(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that wrappers add, where all keys have them and the model's have not."""
    plain = state
    while plain and not any(key in wanted for key in plain):
        prefix = next((candidate for candidate in PREFIXES if all(key.startswith(candidate) for key in plain)), None)
        if prefix is None:
            return state
        plain = {key.removeprefix(prefix): value for key, value in plain.items()}
    return plain


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
