"""Asks for options of an architecture that weights of another tool belong to and do not tell.

Some options change what a network computes and none of its weights; a guess would load and be wrong without a word.
Others show in the names or shapes of the weights, and are proposed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from unlearnkit.errors import ModelError
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.models.names import ModelName, parse_name

# torchvision's published weights of these were made with transform_input=True, and its constructor's default is False.
AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
POSITIONS = {"timm": ("pos_embed", "img_size"), "torchvision": ("encoder.pos_embedding", "image_size")}
BY_SIZE = "relative_position"  # tables of windowed attention: their shapes follow from the image size


def check_open_options(name: str, checkpoint: Checkpoint, model: nn.Module) -> None:
    """Refuse a name that leaves open which function the weights belong to.

    Args:
        name: of the architecture, as it is about to be used.
        checkpoint: weights that record no architecture.
        model: built by that name.

    Raises:
        ModelError: an option is open, or another one shows in the weights; the message writes the name to give.
    """
    parsed = parse_name(name)
    if parsed.kind not in ("timm", "torchvision"):
        return
    matched = checkpoint.matched(model)
    given, names = matched.given, {*matched.given, *(key.removeprefix(matched.prefix) for key in checkpoint.state)}
    if parsed.kind == "torchvision" and parsed.base in AUXILIARY:
        _check_inception(parsed, names, checkpoint)
    if parsed.kind == "timm":
        _check_pooling(parsed, names, model, checkpoint)
    _check_size(parsed, given, model, checkpoint)


def _check_inception(parsed: ModelName, names: set[str], checkpoint: Checkpoint) -> None:
    heads = AUXILIARY[parsed.base]
    auxiliary = any(key.startswith(f"{head}.") for key in names for head in heads)
    if parsed.options.get("aux_logits", True) is not auxiliary:
        there = "has" if auxiliary else "has no"
        raise ModelError(
            f"Expected the auxiliary heads of the weights in the model's name, but {checkpoint.path} {there} "
            f"{', '.join(heads)}; write --model {written_name(parsed, {'aux_logits': auxiliary})}."
        )
    if "transform_input" not in parsed.options:
        written = written_name(parsed, {"aux_logits": auxiliary, "transform_input": True})
        raise ModelError(
            f"Expected transform_input in the name of torchvision:{parsed.base}, as the weights in {checkpoint.path} "
            f"fit it either way; write --model {written} where they come from torchvision's pretrained ones, and "
            "transform_input=False where they were trained from the constructor's defaults."
        )


def _check_pooling(parsed: ModelName, names: set[str], model: nn.Module, checkpoint: Checkpoint) -> None:
    """The norm of a vision transformer lies before or after the pooling: its name says which pooling it belongs to."""
    if not isinstance(getattr(model, "global_pool", None), str):
        return
    for ours, theirs, pooling in (("norm", "fc_norm", "avg"), ("fc_norm", "norm", "token")):
        wanted = model.state_dict()
        if (
            f"{ours}.weight" in wanted
            and f"{theirs}.weight" not in wanted
            and (f"{theirs}.weight" in names and f"{ours}.weight" not in names)
        ):
            raise ModelError(
                f"Expected weights with {ours}, but {checkpoint.path} has {theirs}, which belongs to another pooling; "
                f"write --model {written_name(parsed, {'global_pool': pooling})}."
            )


def _check_size(parsed: ModelName, given: Mapping[str, Tensor], model: nn.Module, checkpoint: Checkpoint) -> None:
    key, option = POSITIONS[parsed.kind]
    wanted = model.state_dict()
    theirs, ours = given.get(key), wanted.get(key)
    if theirs is not None and ours is not None and theirs.dim() == ours.dim() == 3:
        if theirs.shape[1] == ours.shape[1] or theirs.shape[2] != ours.shape[2]:
            return
        size = _size_of(parsed, model, theirs.shape[1], ours.shape[1])
        written = written_name(parsed, {option: size}) if size else f"the name with ,{option}=NUMBER after it"
        raise ModelError(
            f"Expected weights for the image size of the model, but {checkpoint.path} has {theirs.shape[1]} positions "
            f"instead of {ours.shape[1]}; write --model {written}."
        )
    tables = [key for key in given if BY_SIZE in key and given[key].shape != wanted[key].shape]
    others = [key for key in given if BY_SIZE not in key and given[key].shape != wanted[key].shape]
    if tables and len(others) <= 2:  # the head may be of another width besides
        raise ModelError(
            f"Expected weights for the image size and window of the model, but {checkpoint.path} has "
            f"{tuple(given[tables[0]].shape)} for {tables[0]} instead of {tuple(wanted[tables[0]].shape)}; write the "
            f"size they were made for after the name: --model {parsed.kind}:{parsed.base},img_size=NUMBER."
        )


def _size_of(parsed: ModelName, model: nn.Module, theirs: int, ours: int) -> int | None:
    """The image size that so many positions are for; None where patches or the grid are not square."""
    if parsed.kind == "timm":
        embed = getattr(model, "patch_embed", None)
        patch, patches = getattr(embed, "patch_size", None), getattr(embed, "num_patches", None)
        patch = patch[0] if isinstance(patch, tuple) and len(set(patch)) == 1 else None
    else:
        patch, patches = getattr(model, "patch_size", None), ours - 1  # the class token is one position
    if not isinstance(patch, int) or not isinstance(patches, int):
        return None
    side = math.isqrt(max(theirs - (ours - patches), 0))
    return side * patch if side and side**2 == theirs - (ours - patches) else None


def written_name(parsed: ModelName, changes: Mapping[str, object]) -> str:
    """Return the name with options added or changed, as it is typed."""
    options = parsed.options | dict(changes)
    return ",".join([f"{parsed.kind}:{parsed.base}", *(f"{key}={value}" for key, value in options.items())])
