"""A batch in pieces gives the weights of the whole batch, and the pieces shrink where memory runs out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU
from training_runs import images_and_labels, plain_vit, run
from unlearnkit.data.samples import TensorSamples
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_pieces_of_a_batch_give_the_weights_of_whole_batches(size: int) -> None:
    images, labels = images_and_labels(22)
    recipe = Recipe(epochs=2, batch_size=8, lr=0.05)
    states = []
    for micro in (None, size):
        model = plain_vit()
        train(
            model,
            TensorSamples(images, labels),
            recipe,
            stage="train",
            generator=torch.Generator().manual_seed(1),
            runtime=replace(CPU, micro_batch_size=micro),
            log=RunLog(CPU),
        )
        states.append(model.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=1e-9, atol=1e-12)


class Hungry(nn.Module):
    """Runs out of memory on more than `most` images, as CUDA or as the CPU's allocator says it."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        super().__init__()
        self.inner, self.most, self.error = plain_vit(), most, error
        self.tried: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.tried.append(len(images))
        if len(images) > self.most:
            raise self.error
        return self.inner(images)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu"])
def test_when_memory_runs_out_the_pieces_shrink_and_the_weights_are_the_same(error: RuntimeError) -> None:
    images, labels = images_and_labels(22)
    recipe = Recipe(epochs=2, batch_size=8, lr=0.05)
    hungry, plain = Hungry(3, error), plain_vit()
    log = run(hungry, TensorSamples(images, labels), recipe)
    run(plain, TensorSamples(images, labels), recipe)
    torch.testing.assert_close(hungry.inner.state_dict(), plain.state_dict(), rtol=1e-9, atol=1e-12)
    assert log.notes["micro_batch_size"] == 2
    assert hungry.tried[:3] == [8, 4, 2]
    assert max(hungry.tried[3:]) == 2  # once found, the size stays


def test_one_image_that_does_not_fit_is_the_error_it_is() -> None:
    images, labels = images_and_labels(4)
    with pytest.raises(torch.OutOfMemoryError):
        run(Hungry(0, torch.OutOfMemoryError("CUDA out of memory.")), TensorSamples(images, labels), Recipe())


def test_other_errors_are_not_taken_for_exhausted_memory() -> None:
    images, labels = images_and_labels(8)
    model = Hungry(1, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        run(model, TensorSamples(images, labels), Recipe())
    assert model.tried == [8]
