"""Computes the gradient of a batch in micro-batches that fit in memory.

Shapes: n samples of a batch, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.losses import Loss


class MicroBatches:
    """Computes a batch's gradient in micro-batches; where one does not fit in memory, all later ones are smaller."""

    def __init__(self, model: nn.Module, loss: Loss, runtime: Runtime, log: RunLog) -> None:
        self._model, self._loss, self._runtime, self._log = model, loss, runtime, log
        self.size = runtime.micro_batch_size

    def backward(self, images: Tensor, labels: Tensor, *, of: int) -> Tensor:
        """Set the weights' gradients to those of (sum of these images' losses) / `of`, and return that value."""
        while True:
            try:
                return self._backward(images, labels, of)
            except RuntimeError as error:
                size = min(self.size or len(images), len(images))
                if size == 1 or not out_of_memory(error):
                    raise
                self.size = (size + 1) // 2
            # outside of the handler, whose traceback would keep the failed micro-batch's tensors alive
            self._log.notes["micro_batch_size"] = self.size
            self._log.progress.say(f"out of memory: batches are computed in micro-batches of {self.size} images")
            if self._runtime.device.type == "cuda":
                torch.cuda.empty_cache()

    def _backward(self, images: Tensor, labels: Tensor, of: int) -> Tensor:
        for parameter in self._model.parameters():
            parameter.grad = None
        values = []
        size = self.size or max(1, len(images))
        for micro_batch, target in zip(images.split(size), labels.split(size), strict=True):
            with self._runtime.autocast():
                loss = self._loss(self._model, self._runtime.inputs(micro_batch), target)
                value = loss * (len(micro_batch) / of)
            value.backward()
            values.append(value.detach())
        return torch.stack(values).sum()


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch raised because memory ran out, on the CPU or on an accelerator."""
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError) or bool(should_reduce_batch_size(error))
