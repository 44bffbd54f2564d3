"""unlearnkit makes a trained image classifier forget classes, and shows the evidence.

    import unlearnkit as uk

    data = uk.load_data("parquet:DIR").with_classes(class_names_of_the_model)
    result = uk.unlearn(model, uk.UNSIR(), data, uk.ForgetRequest(classes=("cat",)), seed=0)
    result.model, result.cost, result.access.forget_samples_read(result.split)

The audit is `unlearnkit.audit.observe.gather` followed by `unlearnkit.audit.audit`.
"""

from __future__ import annotations

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
