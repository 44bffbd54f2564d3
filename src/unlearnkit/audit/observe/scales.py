"""Makes the scales of a copy canonical before it is trained: filters of norm 1, BatchNorm statistics estimated afresh.

Filters whose scale plays no part, as a normalisation layer follows them, are found by trying. Statistics that were
changed by hand do not outlast this either.

Shapes: n images, C channels, H x W pixels.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from unlearnkit.data import DataView
from unlearnkit.data.samples import per_class
from unlearnkit.network import batchnorm_layers, evaluating, logits_of
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.training.batchnorm import recalibrate_batchnorm

STATISTICS = 512  # retained training samples that BatchNorm's statistics are estimated from anew, about
TRIED = 32  # of them, on which filters are scaled
BATCH = 128

FACTOR = 4.0  # that filters are scaled by when it is tried whether that changes anything
SAME = 0.02  # largest change, as a share of the outputs' spread: the small constant in a norm's root changes a little
FILTERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def canonical(
    model: nn.Module, view: DataView, *, generator: torch.Generator, runtime: Runtime, log: RunLog
) -> nn.Module:
    """Return a copy of the model with canonical scales and statistics, all of whose weights can be trained.

    Args:
        model: any of the models; it is not changed.
        view: the audit's view, from whose retained training samples the statistics are estimated.
        generator: CPU generator of the samples.
        runtime: device and precision.
        log: where the cost goes.
    """
    learner = runtime.weights(copy.deepcopy(model)).requires_grad_(True)
    retained = view.part(Part.RETAIN_TRAIN)
    count = max(1, STATISTICS // len(retained.labels.unique()))
    known = retained.subset(per_class(retained.labels, count, generator))
    tried = torch.randperm(len(known), generator=generator)[:TRIED]
    unit_filters(learner, runtime.inputs(known.images(tried)))
    recalibrate_batchnorm(learner, known, batch_size=BATCH, generator=generator, runtime=runtime, log=log)
    return learner


@torch.no_grad()
def unit_filters(model: nn.Module, images: Tensor) -> list[str]:
    """Divide each filter (with its bias) by its norm, in the layers where this leaves the outputs as they were.

    Whether it does is tried, layer by layer: some filters are scaled by 4, with the statistics of the batch in
    BatchNorm, and the outputs compared. Running statistics no longer fit afterwards and have to be estimated anew.
    Filters of norm 0 stay.

    Args:
        model: changed in place; on the device of the images.
        images: (n, C, H, W), normalised; a few tens.

    Returns:
        The names of the layers whose filters now have norm 1.
    """
    changed = []
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    with evaluating(model):
        for norm in batchnorm_layers(model):
            norm.train()
        before = logits_of(model(images))
        spread = before.std().clamp_min(1e-12)
        for name, layer in model.named_modules():
            if not isinstance(layer, FILTERS):
                continue
            rows = torch.arange(len(layer.weight), device=layer.weight.device)
            _scale(layer, torch.where(rows % 2 == 0, FACTOR, 1.0))
            same = bool((logits_of(model(images)) - before).abs().max() <= SAME * spread)
            _scale(layer, torch.where(rows % 2 == 0, 1 / FACTOR, 1.0))
            if same:
                norms = layer.weight.flatten(1).norm(dim=1)
                _scale(layer, torch.where(norms > 0, 1 / norms, 1.0))
                changed.append(name)
    for key, value in model.state_dict().items():  # the tries moved the running statistics
        if not any(key in (f"{name}.weight", f"{name}.bias") for name in changed):
            value.copy_(kept[key])
    return changed


def _scale(layer: nn.Module, factors: Tensor) -> None:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    weight.mul_(factors.to(weight).view(-1, *[1] * (weight.dim() - 1)))
    if isinstance(layer.bias, Tensor):
        layer.bias.mul_(factors.to(layer.bias))
