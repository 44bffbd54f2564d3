"""Builds models by code of others: `package.module:factory`, and factories of installed packages."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from unlearnkit.errors import ModelError, UnlearnkitError, reason
from unlearnkit.plugins import import_path

CHANNELS = ("in_channels", "in_chans")  # names that networks give to the number of channels


@contextmanager
def building(name: str, options: Mapping[str, object]) -> Iterator[None]:
    """Turn any error of a constructor into a ModelError.

    Raises:
        ModelError: in place of the constructor's own error.
    """
    try:
        yield
    except UnlearnkitError:
        raise
    except Exception as error:
        arguments = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no options"
        raise ModelError(
            f"Expected {name} to be built with {arguments}, but it fails ({reason(error)}); "
            "check the options after the commas of its name."
        ) from error


def build_imported(path: str, options: Mapping[str, object], *, num_classes: int, in_channels: int) -> nn.Module:
    """Import `package.module:factory` and call it with `num_classes=` and the options.

    A factory that has a parameter `in_channels` or `in_chans` is told the channels of the images.

    Raises:
        ModelError: it cannot be imported or called, or returns no module.
    """
    factory = import_path(path, what="a factory", form="package.module:factory", error=ModelError)
    channels = {name: in_channels for name in CHANNELS if name in _parameters(factory)}
    return build_from(factory, path, {"num_classes": num_classes, **channels, **options})


def _parameters(factory: object) -> set[str]:
    """Names of the parameters that a factory writes out; empty where Python cannot tell."""
    if not callable(factory):
        return set()
    try:
        return set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # some that are written in C
        return set()


def build_from(factory: object, place: str, given: Mapping[str, object]) -> nn.Module:
    """Call a factory of the user's or of another package, and check that it returns a model.

    Args:
        factory: should be callable.
        place: where it is, for messages.
        given: its keyword arguments.

    Raises:
        ModelError: it cannot be called with them, or returns no module.
    """
    names = ", ".join(f"{key}=" for key in given)
    try:
        if not callable(factory):
            raise TypeError(f"{type(factory).__name__} is not callable")
        model = factory(**given)
    except Exception as error:
        raise ModelError(
            f"Expected {place} to take {names}, but it failed ({reason(error)}); "
            f"name a function or class that is called with {next(iter(given))}=."
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"Expected {place} to return a torch.nn.Module, but got {type(model).__name__}; return the model itself."
        )
    return model
