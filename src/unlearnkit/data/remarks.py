"""What a person should know of the data before it is used: what its source says, and classes found on one side only."""

from __future__ import annotations

import torch

from unlearnkit.class_names import listed
from unlearnkit.data.images import ImageData


def remarks_on(data: ImageData) -> tuple[str, ...]:
    """Return sentences on the data: the source's own, and one for each kind of class that some side lacks.

    Only labels are looked at.
    """
    return (*data.remarks, *one_sided(data))


def one_sided(data: ImageData) -> list[str]:
    """Return a sentence for each kind of class without images: in neither set, in the test set, in the training set."""
    train, test = (
        torch.bincount(labels, minlength=len(data.classes)) for labels in (data.train.labels, data.test.labels)
    )
    kinds = (
        ("no image", (train == 0) & (test == 0)),
        ("training images and no test images", (train > 0) & (test == 0)),
        ("test images and no training images", (train == 0) & (test > 0)),
    )
    total = len(data.classes)
    return [
        f"Of the {total:,} classes {int(mask.sum()):,} {'has' if int(mask.sum()) == 1 else 'have'} {what} in "
        f"{data.source}: {listed([data.classes[k] for k in mask.nonzero().flatten().tolist()])}."
        for what, mask in kinds
        if bool(mask.any())
    ]
