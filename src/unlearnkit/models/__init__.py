"""Builds models by name: a new network with the wanted number of outputs."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Callable, Mapping

from torch import nn

from unlearnkit.errors import ModelError
from unlearnkit.models.airbench import AirbenchNet
from unlearnkit.models.builtin import AllCNN, SmallCNN, resnet18_cifar
from unlearnkit.models.check import check_model
from unlearnkit.models.ensemble import Ensemble
from unlearnkit.models.factory import build_from, build_imported, building
from unlearnkit.models.names import is_import_path, is_trusted_name, parse_name, shards_of
from unlearnkit.models.timm_zoo import build_timm
from unlearnkit.models.torchvision_zoo import build_torchvision
from unlearnkit.models.transformers_zoo import build_transformers
from unlearnkit.plugins import Plugins

__all__ = [
    "BUILTIN",
    "PLUGINS",
    "AirbenchNet",
    "AllCNN",
    "SmallCNN",
    "build_model",
    "check_model",
    "is_import_path",
    "is_trusted_name",
    "list_models",
]

BUILTIN: dict[str, Callable[..., nn.Module]] = {
    "small-cnn": SmallCNN,
    "allcnn": AllCNN,
    "airbench": AirbenchNet,
    "resnet18-cifar": resnet18_cifar,
}


def _checked(found: object, place: str) -> Callable[..., nn.Module]:
    """Return what a package adds as a model's factory, if it can be called."""
    if not callable(found):
        raise ModelError(
            f"Expected a factory at {place}, but got {type(found).__name__}; "
            "name a function or class that is called with num_classes= and in_channels=."
        )
    return found


PLUGINS: Plugins[Callable[..., nn.Module]] = Plugins(
    group="unlearnkit.models", what="model", builtin=BUILTIN, error=ModelError, check=_checked
)


def build_model(name: str, *, num_classes: int, in_channels: int, pretrained: bool = False) -> nn.Module:
    """Build a model with new weights or with pretrained ones; draws from the global generator.

    Options follow after commas, as Python literals or plain words: `timm:vit_tiny_patch16_224,img_size=32,depth=6`.

    Args:
        name: a built-in name or that of a model that an installed package adds (both are called with `num_classes=`,
            `in_channels=` and the options), `timm:NAME`, `torchvision:NAME`, `transformers:DIR_OR_NAME`, or
            `package.module:factory` (called with `num_classes=` and the options, and with `in_channels=` or
            `in_chans=` where it has a parameter of that name); or `sharded:S:NAME`, the mean of S models of one of
            these names.
        num_classes: width of the output.
        in_channels: channels of the images.
        pretrained: start from the zoo's pretrained weights; the head is fresh unless theirs has `num_classes` outputs
            too.

    Raises:
        ModelError: the name or an option is unknown, nothing can be imported or built, or the pretrained weights
            cannot be fetched.
    """
    if (sharded := shards_of(name)) is not None:
        shards, base = sharded
        built = [
            build_model(base, num_classes=num_classes, in_channels=in_channels, pretrained=pretrained)
            for _ in range(shards)
        ]
        return Ensemble(built, num_classes)
    parsed = parse_name(name)
    if parsed.kind == "timm":
        return build_timm(
            parsed.base, parsed.options, num_classes=num_classes, in_channels=in_channels, pretrained=pretrained
        )
    if parsed.kind == "torchvision":
        return build_torchvision(
            parsed.base, parsed.options, num_classes=num_classes, in_channels=in_channels, pretrained=pretrained
        )
    if parsed.kind == "transformers":
        return build_transformers(
            parsed.base, parsed.options, num_classes=num_classes, in_channels=in_channels, pretrained=pretrained
        )
    foreign = PLUGINS.names() if parsed.kind == "built-in" and parsed.base not in BUILTIN else []
    if parsed.kind == "built-in" and parsed.base not in (*BUILTIN, *foreign):
        known = (*BUILTIN, *foreign)
        close = difflib.get_close_matches(parsed.base, known, n=1)
        other_forms = "timm:NAME, torchvision:NAME and package.module:factory also work."
        hint = f"did you mean {close[0]!r}? {other_forms}" if close else other_forms
        raise ModelError(f"Expected a built-in model ({', '.join(known)}), but got {parsed.base!r}; {hint}")
    if pretrained:
        raise ModelError(
            f"Expected timm:NAME or torchvision:NAME for pretrained weights, but got {name!r}, which has none; "
            "leave --pretrained out, or start from a weights file with --init."
        )
    if parsed.kind == "import":
        return build_imported(parsed.base, parsed.options, num_classes=num_classes, in_channels=in_channels)
    arguments = {"num_classes": num_classes, "in_channels": in_channels, **parsed.options}
    if parsed.base in foreign:
        return build_from(PLUGINS.load(parsed.base), parsed.base, arguments)
    _check_options(parsed.base, parsed.options)
    with building(parsed.base, parsed.options):
        return BUILTIN[parsed.base](**arguments)


def _check_options(name: str, options: Mapping[str, object]) -> None:
    """Refuse options that a built-in model does not have, and widths that no network can have."""
    known = [key for key in inspect.signature(BUILTIN[name]).parameters if key not in ("num_classes", "in_channels")]
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known) or 'none'}."
            raise ModelError(f"Expected an option of the model {name}, but got {key!r}; {hint}")
    if "width" in options and (type(options["width"]) is not int or options["width"] < 1):
        raise ModelError(
            f"Expected the width of the model {name} to be a whole number of channels, but got {options['width']!r}; "
            "give 1 or more."
        )


def list_models(pattern: str = "") -> list[str]:
    """Return the names that `build_model` takes and that contain `pattern`, or match it where it has `*` or `?`."""
    import timm
    from torchvision import models as zoo

    names = [
        *BUILTIN,
        *PLUGINS.names(),
        *(f"torchvision:{name}" for name in zoo.list_models(module=zoo)),
        *(f"timm:{name}" for name in timm.list_models()),
    ]
    glob = pattern if any(mark in pattern for mark in "*?[") else f"*{pattern}*"
    return [name for name in names if fnmatch.fnmatchcase(name, glob)]
