"""Chooses a few test samples and classes for Grad-CAM, and computes the maps of every model.

They are pictures of samples and stay in memory; whether they may be drawn is decided elsewhere (see `attention`).

Shapes: n images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearnkit.audit.observe.grad_cam import attention_layer, enlarged, grad_cam
from unlearnkit.data import DataView
from unlearnkit.network import evaluating, logits_of
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part

FORGOTTEN, RETAINED = 4, 2  # classes of either kind of which one sample is shown


@dataclass(frozen=True, kw_only=True)
class Look:
    """One sample, with the Grad-CAM maps of every model.

    Args:
        pixels: (C, H, W) as stored.
        label: its class id.
        forgotten: whether that class is forgotten.
        own: maps (H, W) float32 in [0, 1] for its own class, by model.
        rival: the retained class that each model holds most likely, by model.
        rival_maps: maps for those classes.
    """

    pixels: Tensor
    label: int
    forgotten: bool
    own: dict[str, Tensor]
    rival: dict[str, int]
    rival_maps: dict[str, Tensor]


def looks(models: Mapping[str, nn.Module], view: DataView, *, runtime: Runtime) -> tuple[str, list[Look]]:
    """Return the layer, and the Grad-CAM maps of the first test sample of some forgotten and some retained classes.

    The sample is the first of its class, whatever it looks like. It is seen once for its own class, forgotten or not,
    and once for the retained class that the model at hand finds most likely: where that map lies where the map of the
    forgotten class lay, the class lives on under another name.

    Args:
        models: by name, of one architecture; the first one gives the layer. None of them is changed.
        view: with the two test parts; the reads are counted there.
        runtime: where the models run.

    Raises:
        ModelError: the models have no layer with positions of the image.
    """
    request = view.split.request
    forgotten_ids = {*request.forget, *request.already_forgotten}
    kept = torch.tensor([k for k in range(len(request.classes)) if k not in forgotten_ids])
    chosen = [
        *((Part.FORGET_TEST, i) for i in _first(view, Part.FORGET_TEST, FORGOTTEN)),
        *((Part.RETAIN_TEST, i) for i in _first(view, Part.RETAIN_TEST, RETAINED)),
    ]
    if not chosen:
        return "", []
    layer = attention_layer(next(iter(models.values())), num_classes=len(request.classes), shape=view.shape)
    labels = torch.stack([view.part(part).labels[i] for part, i in chosen])
    pixels = [view.part(part).pixels(i[None])[0].cpu() for part, i in chosen]
    images = torch.cat([view.part(part).images(i[None]) for part, i in chosen])
    label_maps, rival, rival_maps = {}, {}, {}
    for name, model in models.items():
        home = next(model.parameters()).device
        try:
            model_input = images.to(runtime.device, next(model.parameters()).dtype)
            model.to(runtime.device)
            with torch.no_grad(), evaluating(model):
                logits = logits_of(model(model_input)).cpu()
            rival[name] = kept[logits[:, kept].argmax(dim=1)]
            label_maps[name] = enlarged(grad_cam(model, model_input, layer, labels), view.shape)
            rival_maps[name] = enlarged(grad_cam(model, model_input, layer, rival[name]), view.shape)
        finally:
            model.to(home)
    return layer, [
        Look(
            pixels=pixels[i],
            label=int(labels[i]),
            forgotten=part.forgotten,
            own={name: label_maps[name][i] for name in models},
            rival={name: int(rival[name][i]) for name in models},
            rival_maps={name: rival_maps[name][i] for name in models},
        )
        for i, (part, _) in enumerate(chosen)
    ]


def _first(view: DataView, part: Part, most: int) -> list[Tensor]:
    """Return the position of the first sample of each of the first classes that have one."""
    labels = view.part(part).labels
    return [torch.nonzero(labels == k)[0, 0] for k in labels.unique().tolist()[:most]]
