"""Turns data sources into ImageData, from which DataView hands out samples and counts every read."""

from __future__ import annotations

from unlearnkit.data.access import AccessLog
from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.sources.registry import load_data
from unlearnkit.data.sources.torch_dataset import from_batches, from_datasets
from unlearnkit.data.view import Batch, DataView, PartSamples, Samples

__all__ = [
    "AccessLog",
    "Batch",
    "DataView",
    "ImageData",
    "ImageSet",
    "PartSamples",
    "Samples",
    "from_batches",
    "from_datasets",
    "load_data",
]
