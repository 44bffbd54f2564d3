"""Counts the samples that each reader has read, by part and class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from unlearnkit.data.images import ImageData
from unlearnkit.runtime.processes import Processes
from unlearnkit.split import Part, Side, Split

Reader = Literal["method", "audit", "first_look", "naming", "safeguard"]
READERS: tuple[Reader, ...] = get_args(Reader)


class AccessLog:
    """Records which rows each reader has read; a row counts once, however often it is read."""

    def __init__(self, data: ImageData) -> None:
        self._data = data
        sides: tuple[Side, ...] = ("train", "test")
        self._read = {
            (reader, side): torch.zeros(len(data.set(side)), dtype=torch.bool) for reader in READERS for side in sides
        }

    def mark(self, reader: Reader, side: Side, rows: Tensor) -> None:
        """Record that `reader` read `rows`."""
        self._read[reader, side][rows] = True

    def include(self, other: AccessLog) -> None:
        """Add the reads that another log of the same data has counted."""
        for key, mask in other._read.items():
            self._read[key] |= mask

    def marks(self) -> dict[str, Tensor]:
        """Return what has been counted so far, by name: the masks themselves, and how often each side was read."""
        sides: tuple[Side, ...] = ("train", "test")
        masks = {f"access.{reader}.{side}": mask for (reader, side), mask in self._read.items()}
        masks |= {f"access.decoded.{side}": self._data.set(side).decoded for side in sides}
        return masks | {f"access.reads.{side}": torch.tensor(self._data.set(side).reads) for side in sides}

    def take_over(self, marks: Mapping[str, Tensor]) -> None:
        """Add what an interrupted run has counted; reads of random images are counted on from there.

        Raises:
            ValueError: they are not those of this data.
        """
        for name, own in self.marks().items():
            found = marks.get(name)
            if found is None or (found.shape, found.dtype) != (own.shape, own.dtype):
                raise ValueError(f"it counts no {name!r} of this data")
        for name, own in self.marks().items():
            if own.dtype == torch.bool:
                own |= marks[name]
        self._data.train.reads = int(marks["access.reads.train"])
        self._data.test.reads = int(marks["access.reads.test"])

    def join(self, processes: Processes) -> None:
        """Add the reads and decodings of the run's other processes."""
        masks = [*self._read.values(), self._data.train.decoded, self._data.test.decoded]
        counts = [mask.to(torch.int32) for mask in masks]
        processes.sum(counts)
        for mask, count in zip(masks, counts, strict=True):
            mask |= count > 0

    def forget_samples_read(self, split: Split) -> int:
        """Return how many distinct samples of classes forgotten now or earlier the method read."""
        forgotten_rows = [(part.side, split[part]) for part in (Part.FORGET_TRAIN, Part.FORGET_TEST)]
        return sum(
            int(self._read["method", side][rows].sum()) for side, rows in (*forgotten_rows, *split.excluded.items())
        )

    def summary(self, split: Split) -> dict[str, object]:
        """Return the counts for `access.json`: samples present, read by method and audit, decoded; by part and class.

        `excluded_train` and `excluded_test` are the rows of classes forgotten by earlier requests. Reads of the first
        look at foreign weights (`steps.first_look`) and of the naming of rows by content (`data.row_names`) are listed
        where there were any, those of the safeguard after a run (`methods.safeguard`) in the parts that it read.
        """
        sides: tuple[Side, ...] = ("train", "test")
        groups: dict[str, tuple[Side, Tensor]] = {part.value: (part.side, split[part]) for part in Part}
        groups |= {f"excluded_{side}": (side, rows) for side, rows in split.excluded.items()}
        besides: tuple[Reader, ...] = ("first_look", "naming")
        beside = [reader for reader in besides if any(bool(self._read[reader, side].any()) for side in sides)]
        parts: dict[str, dict[str, dict[str, int]]] = {}
        classes = self._data.classes
        for name, (side, rows) in groups.items():
            labels = self._data.labels(side)[rows]
            masks = {
                "read_by_method": self._read["method", side][rows],
                "read_by_audit": self._read["audit", side][rows],
                **{f"read_by_{reader}": self._read[reader, side][rows] for reader in beside},
                "decoded": self._data.set(side).decoded[rows],
            }
            if (guarded := self._read["safeguard", side][rows]).any():
                masks["read_by_safeguard"] = guarded
            counted = {"samples": labels} | {key: labels[mask] for key, mask in masks.items()}
            counts = {key: torch.bincount(found, minlength=len(classes)).tolist() for key, found in counted.items()}
            parts[name] = {
                classes[k]: {key: by_class[k] for key, by_class in counts.items()}
                for k, samples in enumerate(counts["samples"])
                if samples
            }
        forgotten = [c for name in parts for c in parts[name].values() if not name.startswith("retain")]
        return {
            "parts": parts,
            "forget_samples_read": self.forget_samples_read(split),
            "forget_samples_read_by_audit": sum(c["read_by_audit"] for c in forgotten),
            **{f"forget_samples_read_by_{reader}": _sum(forgotten, f"read_by_{reader}") for reader in beside},
            "forget_samples_decoded": sum(c["decoded"] for c in forgotten),
        }


def _sum(counts: list[dict[str, int]], key: str) -> int:
    return sum(each[key] for each in counts)
