"""Models from the user's own code: `package.module:factory` is imported and called."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from unlearnkit.errors import ModelError, UnlearnkitError


@contextmanager
def building(name: str, options: Mapping[str, object]) -> Iterator[None]:
    """Turn whatever a constructor raises into one sentence.

    Raises:
        ModelError: in place of the constructor's own error.
    """
    try:
        yield
    except UnlearnkitError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no options"
        raise ModelError(
            f"Expected {name} to be built with {given}, but it fails ({reason(error)}); "
            "check the options after the commas of its name."
        ) from error


def reason(error: BaseException) -> str:
    """First line of an error, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def build_imported(path: str, options: Mapping[str, object], *, num_classes: int) -> nn.Module:
    """Import `package.module:factory` and call it with `num_classes=` and the options.

    Raises:
        ModelError: it cannot be imported or called, or returns no module.
    """
    module_name, _, factory_name = path.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except Exception as error:
        raise ModelError(
            f"Expected a factory at {path}, but it cannot be imported ({type(error).__name__}: {error}); "
            "write package.module:factory, and check that the package is on the Python path."
        ) from error
    try:
        model = factory(num_classes=num_classes, **options)
    except Exception as error:
        given = ", ".join(f"{key}=" for key in ("num_classes", *options))
        raise ModelError(
            f"Expected {path} to take {given}, but it failed ({error}); "
            "name a function or class that is called with num_classes=."
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"Expected {path} to return a torch.nn.Module, but got {type(model).__name__}; return the model itself."
        )
    return model
