"""Runs a model over samples and returns its logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearnkit.data.view import Batch, Samples
from unlearnkit.network import evaluating, logits_of
from unlearnkit.runtime.runtime import Runtime


@torch.no_grad()
def predict(model: nn.Module, samples: Samples, runtime: Runtime) -> Tensor:
    """Return logits (n, K) on the CPU, computed in eval mode and in the samples' order; the mode is restored."""
    if len(samples) == 0:
        return torch.empty(0, 0)
    processes = runtime.processes
    shared = len(samples) >= processes.count
    own_positions = torch.arange(len(samples))[processes.share(len(samples)) if shared else slice(None)]
    batches = [Batch(positions) for positions in own_positions.split(runtime.eval_batch_size)]
    chunks = []
    with evaluating(model):
        for images in samples.stream(batches):
            with runtime.autocast():
                chunks.append(logits_of(model(runtime.inputs(images))))
    logits = torch.cat(chunks)
    return (processes.gather(logits, len(samples)) if shared else logits).cpu()
