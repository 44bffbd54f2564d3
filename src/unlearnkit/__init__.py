"""unlearnkit makes a trained image classifier forget classes, and shows the evidence.

    import unlearnkit as uk

    data = uk.load_data("parquet:DIR").with_classes(class_names_of_the_model)
    result = uk.unlearn(model, uk.UNSIR(), data, uk.ForgetRequest(classes=("cat",)), seed=0)
    result.model, result.cost, result.access.forget_samples_read(result.split)

The audit is `unlearnkit.audit.observe.gather` followed by `unlearnkit.audit.audit`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearnkit.data import ImageData, ImageSet, from_batches, from_datasets
    from unlearnkit.data.preprocessing import Preprocessing
    from unlearnkit.data.sources.registry import load_data
    from unlearnkit.errors import UnlearnkitError
    from unlearnkit.methods import (
        DELETE,
        SCRUB,
        SSD,
        UNSIR,
        BadTeacher,
        BoundaryShrink,
        Context,
        Erase,
        FineTune,
        FisherForgetting,
        HeadMask,
        L1Sparse,
        Method,
        NegGrad,
        NegGradPlus,
        Original,
        RandomLabel,
        Retrain,
        SalUn,
        Unlearned,
        unlearn,
    )
    from unlearnkit.methods.registry import METHODS
    from unlearnkit.request import ForgetRequest
    from unlearnkit.runtime.runtime import Runtime
    from unlearnkit.split import Part, Split, split_for

__all__ = [
    "DELETE",
    "METHODS",
    "SCRUB",
    "SSD",
    "UNSIR",
    "BadTeacher",
    "BoundaryShrink",
    "Context",
    "Erase",
    "FineTune",
    "FisherForgetting",
    "ForgetRequest",
    "HeadMask",
    "ImageData",
    "ImageSet",
    "L1Sparse",
    "Method",
    "NegGrad",
    "NegGradPlus",
    "Original",
    "Part",
    "Preprocessing",
    "RandomLabel",
    "Retrain",
    "Runtime",
    "SalUn",
    "Split",
    "Unlearned",
    "UnlearnkitError",
    "from_batches",
    "from_datasets",
    "load_data",
    "split_for",
    "unlearn",
]

_HOMES = {  # a name is imported when it is first used, so that `unlearnkit --help` need not wait for torch
    "unlearnkit.data": ("ImageData", "ImageSet", "from_batches", "from_datasets"),
    "unlearnkit.data.preprocessing": ("Preprocessing",),
    "unlearnkit.data.sources.registry": ("load_data",),
    "unlearnkit.errors": ("UnlearnkitError",),
    "unlearnkit.methods.registry": ("METHODS",),
    "unlearnkit.request": ("ForgetRequest",),
    "unlearnkit.runtime.runtime": ("Runtime",),
    "unlearnkit.split": ("Part", "Split", "split_for"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from the module that defines it, or a module of the package, when it is first asked for."""
    if name in __all__:
        value: object = getattr(import_module(_HOME.get(name, "unlearnkit.methods")), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
