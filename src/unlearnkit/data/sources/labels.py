"""Finds the labels of a torch data set without reading its images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from unlearnkit.data.class_lists import check_count
from unlearnkit.errors import DataError


def known_labels(dataset: Any) -> Any:
    """Return the labels that `dataset` lists, as it lists them, or None where it lists none.

    Looked up are the attributes `targets`, `labels` and torchvision's `_labels` and `_samples`, through `Subset` and
    `ConcatDataset`, and the last tensor of a `TensorDataset`.
    """
    if isinstance(dataset, Subset):
        inner = known_labels(dataset.dataset)
        return None if inner is None else [inner[k] for k in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [known_labels(part) for part in dataset.datasets]
        return None if any(part is None for part in parts) else [label for part in parts for label in part]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[-1]
    for name in ("targets", "labels", "_labels"):
        if getattr(dataset, name, None) is not None:
            return getattr(dataset, name)
    samples = getattr(dataset, "_samples", None)
    return None if samples is None else [label for _, label in samples]


def checked_labels(labels: Any, count: int, title: str) -> Tensor:
    """Return labels as (count,) int64.

    Raises:
        DataError: they are not `count` integers from 0, or stand for too many classes.
    """
    try:
        values = labels.numpy(force=True) if isinstance(labels, Tensor) else np.asarray(labels)
    except ValueError as error:
        raise DataError(f"Expected one integer label for each image of {title}, but got lists; give ids.") from error
    if values.shape != (count,):
        raise DataError(
            f"Expected {count} labels for {title}, but got the shape {values.shape}; give one for each image."
        )
    if count == 0:
        raise DataError(f"Expected images in {title}, but there are none; give data with images.")
    if not np.issubdtype(values.dtype, np.integer):
        found = "NaN among them" if values.dtype.kind == "f" and np.isnan(values).any() else str(values.dtype)
        raise DataError(f"Expected integer labels for {title}, but got {found}; give class ids from 0.")
    if values.min() < 0:
        raise DataError(f"Expected labels from 0 for {title}, but got {values.min()}; a label is a class id.")
    check_count(1 + int(values.max()), title)
    return torch.from_numpy(values.astype(np.int64))
