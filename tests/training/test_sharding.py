"""The plan of a sharded training: who belongs where, how long each slice is trained, what a request costs."""

from __future__ import annotations

import pytest
import torch

from unlearnkit.errors import ConfigError
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.sharding import ShardedTraining, Sharding, check_sharding


def plan(shards: int, slices: int, rows: int = 60, *, seed: int = 0, epochs: int = 10) -> ShardedTraining:
    return ShardedTraining.planned(
        Sharding(shards=shards, slices=slices), rows=rows, seed=seed, recipe=Recipe(epochs=epochs)
    )


def test_the_assignment_is_even_and_follows_from_the_seed_alone() -> None:
    one = plan(4, 3)
    assert torch.bincount(one.cells()).tolist() == [5] * 12
    assert torch.equal(one.cells(), plan(4, 3, epochs=3).cells())
    assert not torch.equal(one.cells(), plan(4, 3, seed=1).cells())
    with pytest.raises(ConfigError, match="draws another one"):
        one.model_copy(update={"assignment": "0" * 64}).cells()


@pytest.mark.parametrize(
    ("slices", "epochs", "expected"), [(1, 10, 10), (3, 10, 5), (4, 10, 4), (9, 10, 2), (99, 10, 1)]
)
def test_epochs_are_apportioned_so_that_slicing_passes_as_many_samples(slices: int, epochs: int, expected: int) -> None:
    """e = 2 e' / (R + 1): R trainings on 1 to R of R equal slices pass as many samples as e' epochs of all of them."""
    one = plan(1, slices, rows=99 * slices, epochs=epochs)
    assert one.slice_epochs == expected
    if slices < 99:
        assert one.passes(torch.arange(one.rows)) == epochs * one.rows


def test_the_cost_of_a_request_by_hand() -> None:
    one = plan(2, 3, rows=60)  # ten rows in each slice, five epochs of each
    rows, cells = torch.arange(60), one.cells()
    assert one.passes(rows) == 2 * 5 * (10 + 20 + 30)
    last = torch.nonzero(cells == 5).flatten()[:1]
    assert one.touched(last) == {1: 2}
    both = torch.cat([last, torch.nonzero(cells == 3).flatten()[:1], torch.nonzero(cells == 1).flatten()[:2]])
    assert one.touched(both) == {0: 1, 1: 0}
    left = rows[~torch.isin(rows, both)]
    assert one.passes(left, one.touched(both)) == 5 * ((18 + 28) + (9 + 19 + 28))


def test_more_parts_than_samples_are_refused_and_missing_classes_are_named() -> None:
    labels = torch.zeros(60, dtype=torch.int64)
    labels[0] = 1
    with pytest.raises(ConfigError, match="Expected at most 10 slices in all shards together"):
        check_sharding(plan(4, 3), torch.arange(10), labels[:10], ("a", "b"))
    one = plan(3, 2)
    gone = one.cells() == 2  # the first slice of the second shard
    with pytest.raises(ConfigError, match="shard 2 has none there"):
        check_sharding(one, torch.arange(60)[~gone], labels[~gone], ("a", "b"))
    found = check_sharding(one, torch.arange(60), labels, ("a", "b"))
    assert len(found) == 2
    assert all("has no sample of b" in sentence for sentence in found)
