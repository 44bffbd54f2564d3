"""Builds models of timm, with new or with pretrained weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from unlearnkit.errors import ModelError, reason
from unlearnkit.models.factory import building
from unlearnkit.models.fetch import fetching
from unlearnkit.models.names import FETCHING


def build_timm(
    name: str, options: Mapping[str, Any], *, num_classes: int, in_channels: int, pretrained: bool
) -> nn.Module:
    """Build a classifier of timm, through timm's own `create_model`.

    Pretrained weights come with a fresh head, unless theirs has `num_classes` outputs too; timm fits their first layer
    to other channel counts than 3.

    Raises:
        ModelError: the name or an option is unknown, or something cannot be fetched.
    """
    import timm

    if not name.startswith(FETCHING):
        check_timm(name)
    fetched = f"the pretrained weights of timm:{name}" if pretrained else f"the model timm:{name}"
    fetches = pretrained or name.startswith(FETCHING)
    with building(f"timm:{name}", options), fetching(fetched, ModelError) if fetches else nullcontext():
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels, **options
        )
    return model


def check_timm(name: str) -> None:
    """Refuse an architecture that timm does not have, and a tag after its dot that there is not; name the nearest.

    Raises:
        ModelError: timm does not know the name.
    """
    import timm
    from timm.models import get_pretrained_cfg

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "resnet18 is one."
        raise ModelError(f"Expected a model of timm, but got {name!r}; {hint}")
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:
        close = difflib.get_close_matches(name, timm.list_pretrained(f"{architecture}.*"), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"leave the tag out, as {architecture}."
        raise ModelError(f"Expected a model of timm, but got {name!r} ({reason(error)}); {hint}") from error


def pooling_of(name: str, options: Mapping[str, Any]) -> str | None:
    """Return how an architecture pools by default; None where it does not say.

    Raises:
        ModelError: the model cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        model = build_timm(name, options, num_classes=1, in_channels=3, pretrained=False)
    pooling = getattr(model, "global_pool", None) or getattr(getattr(model, "head", None), "global_pool", None)
    kind = pooling if isinstance(pooling, str) else getattr(pooling, "pool_type", None)
    return kind if isinstance(kind, str) else None
