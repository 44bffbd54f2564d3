"""DataView and AccessLog: who may read what, and how reads are counted."""

from __future__ import annotations

import pytest
import torch

from unlearnkit import ForgetRequest, ImageData, ImageSet, Part, Split, split_for
from unlearnkit.data import AccessLog, DataView
from unlearnkit.data.access import Reader
from unlearnkit.errors import AccessError

CPU = torch.device("cpu")
CLASSES = ("cat", "dog", "cow", "old")


def image_set(labels: torch.Tensor) -> ImageSet:
    """Images whose pixels are their row number."""
    return ImageSet(
        labels,
        lambda _row: (1, 2, 2),
        lambda rows, shape: torch.tensor(rows, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, *shape).clone(),
    )


class Bench:
    """Data of four classes, 10 training and 4 test rows each; dog is forgotten now, old was forgotten before."""

    def __init__(self) -> None:
        train, test = torch.arange(4).repeat(10), torch.arange(4).repeat(4)
        self.data = ImageData(source="made", classes=CLASSES, train=image_set(train), test=image_set(test))
        self.split: Split = split_for(ForgetRequest(classes=("dog",), already_forgotten=("old",)), self.data)
        self.data.fix_shape(int(self.split[Part.RETAIN_TRAIN][0]))
        self.log = AccessLog(self.data)

    def view(self, *parts: Part, reader: Reader = "method") -> DataView:
        return DataView(self.data, self.split, frozenset(parts), reader=reader, log=self.log, device=CPU)

    def counts(self, part: str, name: str) -> tuple[int, int, int, int]:
        found = self.log.summary(self.split)["parts"][part][name]  # type: ignore[index]
        return found["samples"], found["read_by_method"], found["read_by_audit"], found["decoded"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("part", sorted(set(Part) - {Part.RETAIN_TRAIN}))
def test_an_undeclared_part_is_refused(bench: Bench, part: Part) -> None:
    with pytest.raises(AccessError, match=f"read of retain_train by the method, but it asked for {part.value}"):
        bench.view(Part.RETAIN_TRAIN).part(part)


def test_a_view_of_nothing_says_so(bench: Bench) -> None:
    with pytest.raises(AccessError, match="no data at all by the audit"):
        bench.view(reader="audit").part(Part.FORGET_TEST)


def test_no_part_holds_rows_of_classes_forgotten_earlier(bench: Bench) -> None:
    view = bench.view(*Part)
    assert not any((view.part(part).labels == CLASSES.index("old")).any() for part in Part)


def test_images_are_those_of_the_part_and_normalised(bench: Bench) -> None:
    samples = bench.view(Part.FORGET_TEST).part(Part.FORGET_TEST)
    assert len(samples) == 4
    assert samples.labels.tolist() == [1] * 4
    assert samples.pixels(torch.tensor([2, 0]))[:, 0, 0, 0].tolist() == [9, 1]
    torch.testing.assert_close(
        samples.images(torch.tensor([2]))[0, 0, 0, 0].item(), (9 / 255 - 0.5) / 0.25, rtol=1e-6, atol=1e-6
    )


def test_a_subset_of_a_subset_keeps_its_rows(bench: Bench) -> None:
    samples = bench.view(Part.FORGET_TRAIN).part(Part.FORGET_TRAIN)
    inner = samples.subset(torch.tensor([5, 3, 1])).subset(torch.tensor([2, 0]))
    assert inner.pixels(torch.arange(2))[:, 0, 0, 0].tolist() == [5, 21]
    assert bench.counts("forget_train", "dog") == (10, 2, 0, 2)


def test_labels_are_free_and_pixels_are_counted(bench: Bench) -> None:
    samples = bench.view(Part.FORGET_TRAIN).part(Part.FORGET_TRAIN)
    _ = samples.labels, len(samples), samples.subset(torch.arange(3)).labels
    assert bench.counts("forget_train", "dog") == (10, 0, 0, 0)
    samples.pixels(torch.tensor([0]))
    assert bench.counts("forget_train", "dog") == (10, 1, 0, 1)


def test_a_sample_counts_once_however_often_it_is_read(bench: Bench) -> None:
    samples = bench.view(Part.FORGET_TRAIN).part(Part.FORGET_TRAIN)
    samples.images(torch.tensor([1, 1, 2]))
    samples.images(torch.tensor([2, 1]))
    assert bench.counts("forget_train", "dog") == (10, 2, 0, 2)


def test_method_and_audit_are_counted_apart(bench: Bench) -> None:
    bench.view(Part.FORGET_TRAIN).part(Part.FORGET_TRAIN).images(torch.tensor([0, 1, 2]))
    bench.view(Part.FORGET_TRAIN, reader="audit").part(Part.FORGET_TRAIN).images(torch.tensor([2, 3]))
    assert bench.counts("forget_train", "dog") == (10, 3, 2, 4)
    assert bench.log.forget_samples_read(bench.split) == 3


def test_counts_are_kept_per_part_and_class(bench: Bench) -> None:
    view = bench.view(*Part)
    retained = view.part(Part.RETAIN_TRAIN)
    cats = torch.nonzero(retained.labels == CLASSES.index("cat")).flatten()[:4]
    retained.images(cats)
    view.part(Part.RETAIN_VAL).images(torch.tensor([0]))
    assert bench.counts("retain_train", "cat") == (9, 4, 0, 4)
    assert bench.counts("retain_train", "cow") == (9, 0, 0, 0)
    assert bench.counts("retain_val", "cat") == (1, 1, 0, 1)
    assert bench.counts("retain_test", "cat") == (4, 0, 0, 0)
    assert bench.counts("excluded_train", "old") == (10, 0, 0, 0)
    assert bench.counts("excluded_test", "old") == (4, 0, 0, 0)


def test_the_totals_are_over_forgotten_classes_alone(bench: Bench) -> None:
    view, audit = bench.view(*Part), bench.view(*Part, reader="audit")
    view.part(Part.RETAIN_TRAIN).images(torch.arange(5))
    summary = bench.log.summary(bench.split)
    totals = ("forget_samples_read", "forget_samples_read_by_audit", "forget_samples_decoded")
    assert [summary[name] for name in totals] == [0, 0, 0]
    view.part(Part.FORGET_TEST).images(torch.arange(2))
    audit.part(Part.FORGET_TRAIN).images(torch.arange(3))
    summary = bench.log.summary(bench.split)
    assert [summary[name] for name in totals] == [2, 3, 5]


def test_a_class_without_samples_is_not_listed() -> None:
    data = ImageData(
        source="made", classes=("a", "gone"), train=image_set(torch.zeros(4)), test=image_set(torch.zeros(2))
    )
    split = split_for(ForgetRequest(classes=("gone",)), data)
    summary = AccessLog(data).summary(split)
    assert summary["parts"]["forget_train"] == {}  # type: ignore[index]
    assert summary["forget_samples_read"] == summary["forget_samples_decoded"] == 0
