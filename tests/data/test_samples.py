"""Samples made from samples, and random crops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearnkit.data.samples import Augmented, Concat, TensorSamples, crop_and_flip, per_class
from unlearnkit.data.view import Batch


def numbered(start: int, count: int) -> TensorSamples:
    """Images whose single pixel is their number, labelled with the number modulo 7."""
    numbers = torch.arange(start, start + count)
    return TensorSamples(numbers.float().view(-1, 1, 1, 1), numbers % 7)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(sum))
def test_concat_keeps_the_order_of_any_positions(data: st.DataObject, sizes: list[int]) -> None:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    joined = Concat([numbered(s, n) for s, n in zip(starts, sizes, strict=True)])
    total = sum(sizes)
    assert len(joined) == total
    assert joined.labels.tolist() == [i % 7 for i in range(total)]
    positions = torch.tensor(data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=30)))
    images = joined.images(positions)
    assert images.shape == (len(positions), 1, 1, 1)
    assert images.flatten().tolist() == positions.tolist()
    assert (images.flatten() % 7).tolist() == joined.labels[positions].tolist()


def test_concat_asks_each_set_only_for_what_is_its_own() -> None:
    class Picky(TensorSamples):
        asked: list[int]

        def images(self, positions: Tensor) -> Tensor:
            self.asked = positions.tolist()
            return super().images(positions)

    sets = [Picky(torch.zeros(n, 1, 1, 1), torch.zeros(n).long()) for n in (3, 4, 2)]
    Concat(sets).images(torch.tensor([8, 0, 4, 3, 2]))
    assert [sorted(s.asked) for s in sets] == [[0, 2], [0, 1], [1]]


@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_tensor_samples_hold_every_image_so_often(repeats: int) -> None:
    images, labels = torch.arange(3.0).view(3, 1, 1, 1), torch.tensor([4, 5, 6])
    samples = TensorSamples(images, labels, repeats)
    assert len(samples) == len(samples.labels) == 3 * repeats
    everything = samples.images(torch.arange(len(samples))).flatten()
    assert sorted(everything.tolist()) == sorted([0.0, 1.0, 2.0] * repeats)
    assert (everything + 4).tolist() == samples.labels.tolist()


def possible_crops(image: Tensor, padding: int) -> list[Tensor]:
    """Every crop of the padded image, and its mirror image."""
    _, height, width = image.shape
    padded = F.pad(image[None], (padding,) * 4, mode="reflect")[0]
    crops = [padded[:, y : y + height, x : x + width] for y in range(2 * padding + 1) for x in range(2 * padding + 1)]
    return crops + [c.flip(-1) for c in crops]


@pytest.mark.parametrize(("shape", "padding"), [((3, 8, 8), 4), ((1, 7, 9), 2), ((2, 5, 5), 0)])
def test_every_output_is_a_crop_of_its_own_padded_image(shape: tuple[int, int, int], padding: int) -> None:
    images = torch.randn(40, *shape, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    out = crop_and_flip(images, torch.Generator().manual_seed(1), padding)
    assert out.shape == images.shape
    assert out.is_contiguous()
    assert torch.equal(images, before)
    found = []
    for image, result in zip(images, out, strict=True):
        matches = [i for i, crop in enumerate(possible_crops(image, padding)) if torch.equal(crop, result)]
        assert matches
        found.append(matches[0])
    assert len(set(found)) > (1 if padding == 0 else 20)  # drawn for each image anew


def test_crops_reach_every_shift_and_half_are_mirrored() -> None:
    ramp = torch.arange(81.0).view(1, 1, 9, 9).repeat(4000, 1, 1, 1)
    out = crop_and_flip(ramp, torch.Generator().manual_seed(2), 1)
    kinds = {tuple(image.flatten().tolist()): i for i, image in enumerate(possible_crops(ramp[0], 1))}
    counts = torch.bincount(torch.tensor([kinds[tuple(image.flatten().tolist())] for image in out]), minlength=18)
    assert (counts > 4000 / 18 * 0.6).all()
    assert 0.45 < counts[9:].sum() / 4000 < 0.55


@pytest.mark.parametrize(("size", "shift"), [(2, 1), (8, 1), (32, 4), (36, 4), (224, 28)])
def test_crops_shift_by_an_eighth_unless_told_otherwise(size: int, shift: int) -> None:
    images = torch.arange(float(size)).view(1, 1, size, 1).repeat(20, 1, 1, size)
    default, told, one = (crop_and_flip(images, torch.Generator().manual_seed(3), s) for s in (None, shift, 1))
    assert torch.equal(default, told)
    assert torch.equal(default, one) == (shift == 1)


def test_crops_are_seeded_and_leave_the_global_generator_alone() -> None:
    images = torch.randn(10, 3, 8, 8)
    state = torch.get_rng_state()
    first, second, other = (crop_and_flip(images, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_augmented_keeps_labels_and_draws_anew_at_every_read() -> None:
    samples = TensorSamples(torch.randn(6, 1, 8, 8), torch.arange(6))
    augmented = Augmented(samples, torch.Generator().manual_seed(0))
    assert torch.equal(augmented.labels, samples.labels)
    assert len(augmented) == 6
    positions = torch.tensor([4, 1])
    first, second = augmented.images(positions), augmented.images(positions)
    assert not torch.equal(first, second)
    for row, image in zip(positions, first, strict=True):
        own = samples.images(row[None])[0]
        assert any(torch.equal(image, crop) for crop in possible_crops(own, 1))


def test_an_image_is_mirrored_at_every_second_read() -> None:
    images = torch.arange(9.0).expand(50, 1, 1, 9)  # a row that rises, wherever it is cut
    augmented = Augmented(TensorSamples(images, torch.zeros(50, dtype=torch.int64)), torch.Generator().manual_seed(0))

    def mirrored(positions: Tensor, shown: Tensor) -> Tensor:
        seen = torch.zeros(50, dtype=torch.bool)
        seen[positions] = shown[:, 0, 0, 4] > shown[:, 0, 0, 5]
        return seen

    everything = torch.arange(50)
    first = mirrored(everything, augmented.images(everything))
    assert 10 < first.sum() < 40
    for epoch in (1, 2, 3):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(epoch))
        batches = [Batch(order[:30]), Batch(order[30:])]
        seen = [mirrored(b.positions, shown) for b, shown in zip(batches, augmented.stream(batches), strict=True)]
        assert torch.equal(seen[0] | seen[1], first if epoch % 2 == 0 else ~first)


def test_a_long_tail_gives_what_it_has() -> None:
    counts = {0: 1000, 1: 70, 2: 5, 7: 1}
    labels = torch.cat([torch.full((count,), class_id) for class_id, count in counts.items()])
    chosen = per_class(labels, 50, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[chosen]).tolist() == [50, 50, 5, 0, 0, 0, 0, 1]


@settings(max_examples=100, deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=60), count=st.integers(1, 8), seeded=st.booleans())
def test_per_class_takes_so_many_of_each(labels: list[int], count: int, seeded: bool) -> None:
    known = torch.tensor(labels)
    chosen = per_class(known, count, torch.Generator().manual_seed(0) if seeded else None).tolist()
    assert len(set(chosen)) == len(chosen)
    for class_id in set(labels):
        rows = [i for i, label in enumerate(labels) if label == class_id]
        mine = [i for i in chosen if labels[i] == class_id]
        assert len(mine) == min(count, len(rows))
        assert seeded or mine == rows[:count]
    assert [labels[i] for i in chosen] == sorted(labels[i] for i in chosen)


def test_per_class_draws_by_its_generator() -> None:
    labels = torch.arange(4).repeat(50)
    draws = [per_class(labels, 10, torch.Generator().manual_seed(s)).tolist() for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] != per_class(labels, 10, None).tolist()
