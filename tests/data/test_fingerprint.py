"""The fingerprint of samples: the same for the same labels and pixels, another for any other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.data.fingerprint import fingerprint
from unlearnkit.data.images import ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.progress import Silent
from unlearnkit.split import Part, split_for

PIXELS = torch.randint(0, 256, (600, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.arange(600) % 3


def data(pixels: torch.Tensor = PIXELS, labels: torch.Tensor = LABELS) -> ImageData:
    train = ImageSet.from_tensor(pixels, labels)
    test = ImageSet.from_tensor(pixels[:30], labels[:30])
    return ImageData(source="made", classes=("a", "b", "c"), train=train, test=test)


def of(images: ImageData) -> tuple[str, AccessLog]:
    split = split_for(ForgetRequest(classes=("b",)), images)
    images.fix_shape_for(split)
    log = AccessLog(images)
    view = DataView(images, split, frozenset({Part.RETAIN_TRAIN}), reader="audit", log=log, device=torch.device("cpu"))
    with view.seeded_reads(0):
        return fingerprint(view.part(Part.RETAIN_TRAIN), Silent()), log


def changed(row: int) -> torch.Tensor:
    pixels = PIXELS.clone()
    pixels[row, 0, 2, 3] ^= 1
    return pixels


def test_one_pixel_of_a_retained_sample_changes_it_and_none_of_a_forgotten_one() -> None:
    first, log = of(data())
    assert of(data())[0] == first
    retained = split_for(ForgetRequest(classes=("b",)), data())[Part.RETAIN_TRAIN].tolist()
    assert len({first, *(of(data(changed(row)))[0] for row in retained[:: len(retained) // 5])}) >= 6
    assert of(data(changed(1)))[0] == first, "row 1 is of class b"
    counts = log.summary(split_for(ForgetRequest(classes=("b",)), data()))
    assert counts["forget_samples_read"] == counts["forget_samples_read_by_audit"] == 0
    assert counts["forget_samples_decoded"] == 0


def test_the_forgotten_data_may_be_gone() -> None:
    kept = LABELS != 1
    assert of(data(PIXELS[kept], LABELS[kept]))[0] == of(data())[0]


@pytest.mark.parametrize("what", ["label", "order", "normalisation"])
def test_labels_order_and_normalisation_count(what: str) -> None:
    labels, order = LABELS.clone(), torch.arange(600)
    if what == "label":
        labels[300] = 2
    if what == "order":
        order[[6, 9]] = order[[9, 6]]  # both of class a
    images = data(PIXELS[order], labels)
    if what == "normalisation":
        images = replace(images, preprocessing=Preprocessing(mean=(0.4,)))
    assert of(images)[0] != of(data())[0]
