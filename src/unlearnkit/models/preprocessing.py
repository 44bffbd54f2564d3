"""Finds how the model zoos feed images to their pretrained models: size, crop, interpolation, normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.errors import ModelError, reason
from unlearnkit.models.names import FETCHING, parse_name
from unlearnkit.models.timm_zoo import build_timm, check_timm
from unlearnkit.models.torchvision_zoo import check_torchvision
from unlearnkit.models.transformers_zoo import fixed_size, processor_of

TORCHVISION_FIXED = ("vit_", "maxvit_")  # torchvision's families that take images of one size only


@dataclass(frozen=True, kw_only=True)
class OwnPreprocessing:
    """The preprocessing that a pretrained model was trained or evaluated with.

    Args:
        preprocessing: with a size; of the few models that resize to less than they need and pad the crop is 1.
        fixed_size: whether the model takes images of no other size.
    """

    preprocessing: Preprocessing
    fixed_size: bool


def own_preprocessing(name: str) -> OwnPreprocessing | None:
    """Return the preprocessing of the zoo's pretrained model of this name; None for a model of no zoo.

    An image size in the name's options counts.

    Raises:
        ModelError: the name is unknown, its images are not square, or its configuration cannot be fetched.
    """
    parsed = parse_name(name)
    if parsed.kind == "transformers":
        fed = processor_of(parsed.base)
        return None if fed is None else OwnPreprocessing(preprocessing=fed, fixed_size=fixed_size(parsed.base))
    if parsed.kind == "timm":
        return _of_timm(parsed.base, parsed.options, name)
    return _of_torchvision(parsed.base, parsed.options, name) if parsed.kind == "torchvision" else None


def from_config(config: Mapping[str, Any], options: Mapping[str, object]) -> OwnPreprocessing | None:
    """Read timm's `pretrained_cfg`; None where it is empty.

    Raises:
        KeyError, TypeError, ValueError: the configuration is damaged, or its images are not square.
        ConfigError: a value is out of its range.
    """
    if not config:
        return None
    size = options.get("img_size") or config["input_size"][1:]
    return OwnPreprocessing(
        preprocessing=Preprocessing(
            size=_square(size),
            mean=tuple(float(value) for value in config["mean"]),
            std=tuple(float(value) for value in config["std"]),
            crop=min(1.0, float(config.get("crop_pct") or 0.875)),  # timm's own default
            interpolation=str(config.get("interpolation") or "bicubic"),
        ),
        fixed_size=bool(config.get("fixed_input_size")) and not options.get("dynamic_img_size"),
    )


def _of_timm(base: str, options: Mapping[str, object], name: str) -> OwnPreprocessing | None:
    from timm.models import get_pretrained_cfg

    if base.startswith(FETCHING):
        model = build_timm(base, options, num_classes=1, in_channels=3, pretrained=False)
        config: Any = model.pretrained_cfg
    else:
        check_timm(base)
        try:
            known = get_pretrained_cfg(base, allow_unregistered=False)
        except RuntimeError as error:  # somebody registered it, without a configuration
            raise ModelError(
                f"Expected a model of timm, but got {base!r} ({reason(error)}); `timm.list_models()` names them."
            ) from error
        assert known is not None
        config = asdict(known)
    try:
        return from_config(config, options)
    except ValueError as error:
        raise _not_square(name, error) from error


def _of_torchvision(base: str, options: Mapping[str, object], name: str) -> OwnPreprocessing:
    from torchvision import models as zoo

    check_torchvision(base)
    preset = zoo.get_model_weights(base).DEFAULT.transforms()
    option_size = options.get("image_size") or options.get("input_size")
    try:
        size = _square(option_size or (preset.crop_size * 2)[:2])
    except (TypeError, ValueError) as error:
        raise _not_square(name, error) from error
    return OwnPreprocessing(
        preprocessing=Preprocessing(
            size=size,
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            crop=min(1.0, preset.crop_size[0] / preset.resize_size[0]),
            interpolation=preset.interpolation.value,
        ),
        fixed_size=base.startswith(TORCHVISION_FIXED),
    )


def _square(size: object) -> int:
    """Return the side of a square, given as one number or two.

    Raises:
        ValueError: it is no square.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else ()
    if len(sides) != 2 or sides[0] != sides[1] or not isinstance(sides[0], int) or sides[0] <= 0:
        raise ValueError(f"{size!r}")
    return sides[0]


def _not_square(name: str, error: Exception) -> ModelError:
    return ModelError(f"Expected square images for {name}, but its size is {error}; add the option img_size=NUMBER.")
