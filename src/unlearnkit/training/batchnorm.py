"""Estimates BatchNorm's running statistics again, from one pass over samples."""

from __future__ import annotations

import torch
from torch import nn

from unlearnkit.data.view import Batch, Samples
from unlearnkit.network import batchnorm_layers, modes_kept, start_learning
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.loop import even_batches


def recalibrate_batchnorm(
    model: nn.Module,
    samples: Samples,
    *,
    batch_size: int,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
) -> None:
    """Set BatchNorm's running statistics to the mean over one shuffled pass of `samples`; nothing else changes.

    Shuffled, because in batches of one class the differences between the classes would be missing from the variance.
    Every process makes the whole pass, so the statistics are the same with one process and with several. Layers whose
    parameters are all frozen keep theirs.

    Source: P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (SWA), UAI 2018,
    section 3.2.
    """
    with modes_kept(model), torch.no_grad():
        start_learning(model)
        momenta = {layer: layer.momentum for layer in batchnorm_layers(model) if layer.training}
        if not momenta:
            return
        batches = [Batch(p) for p in even_batches(torch.randperm(len(samples), generator=generator), batch_size)]
        for layer in momenta:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
        with log.stage("recalibrate", len(batches)) as stage, runtime.autocast():
            for chunk in samples.stream(batches):
                model(runtime.inputs(chunk))
                stage.advance()
        for layer, momentum in momenta.items():
            layer.momentum = momentum
