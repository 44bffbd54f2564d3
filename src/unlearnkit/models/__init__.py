"""Models by name: a name becomes a fresh network with the wanted number of outputs."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable

from torch import nn

from unlearnkit.errors import ModelError
from unlearnkit.models.airbench import AirbenchNet
from unlearnkit.models.builtin import AllCNN, SmallCNN, resnet18_cifar
from unlearnkit.models.check import check_model
from unlearnkit.models.factory import build_imported, building
from unlearnkit.models.names import is_import_path, is_trusted_name, parse_name
from unlearnkit.models.timm_zoo import build_timm
from unlearnkit.models.torchvision_zoo import build_torchvision

__all__ = [
    "BUILTIN",
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


def build_model(name: str, *, num_classes: int, in_channels: int, pretrained: bool = False) -> nn.Module:
    """Build a model with fresh weights, or a zoo's pretrained ones; draws from the global generator.

    Options follow after commas, as Python literals or plain words: `timm:vit_tiny_patch16_224,img_size=32,depth=6`.

    Args:
        name: a built-in name, `timm:NAME`, `torchvision:NAME`, or `package.module:factory` (called with
            `num_classes=` and the options).
        num_classes: width of the output.
        in_channels: channels of the images.
        pretrained: start from the zoo's pretrained weights; the head is fresh unless theirs has `num_classes` outputs
            too.

    Raises:
        ModelError: the name or an option is unknown, nothing can be imported or built, or the pretrained weights
            cannot be fetched.
    """
    parsed = parse_name(name)
    if parsed.kind == "timm":
        return build_timm(
            parsed.base, parsed.options, num_classes=num_classes, in_channels=in_channels, pretrained=pretrained
        )
    if parsed.kind == "torchvision":
        return build_torchvision(
            parsed.base, parsed.options, num_classes=num_classes, in_channels=in_channels, pretrained=pretrained
        )
    if parsed.kind == "built-in" and parsed.base not in BUILTIN:
        close = difflib.get_close_matches(parsed.base, BUILTIN, n=1)
        others = "timm:NAME, torchvision:NAME and package.module:factory also work."
        hint = f"did you mean {close[0]!r}? {others}" if close else others
        raise ModelError(f"Expected a built-in model ({', '.join(BUILTIN)}), but got {parsed.base!r}; {hint}")
    if pretrained:
        raise ModelError(
            f"Expected timm:NAME or torchvision:NAME for pretrained weights, but got {name!r}, which has none; "
            "leave --pretrained out, or start from a weights file with --init."
        )
    if parsed.kind == "import":
        return build_imported(parsed.base, parsed.options, num_classes=num_classes)
    with building(parsed.base, parsed.options):
        return BUILTIN[parsed.base](num_classes, in_channels, **parsed.options)


def list_models(pattern: str = "") -> list[str]:
    """Names that `build_model` takes: those that contain `pattern`, or match it where it has `*` or `?`."""
    import timm
    from torchvision import models as zoo

    names = [
        *BUILTIN,
        *(f"torchvision:{name}" for name in zoo.list_models(module=zoo)),
        *(f"timm:{name}" for name in timm.list_models()),
    ]
    wanted = pattern if any(mark in pattern for mark in "*?[") else f"*{pattern}*"
    return [name for name in names if fnmatch.fnmatchcase(name, wanted)]
