"""Milliseconds per image of a training step in fp32 and bf16, with and without channels-last, for several models.

    python benchmarks/precision.py

One step is forward, cross-entropy and backward on random images; each figure is the best of three after a warm-up.
Run it on an idle machine.
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit import Runtime
from unlearnkit.models import build_model
from unlearnkit.network import logits_of

MODELS = (
    ("airbench", 10, (3, 32, 32), 256),
    ("resnet18-cifar", 10, (3, 32, 32), 64),
    ("allcnn", 10, (3, 32, 32), 256),
    ("torchvision:resnet18", 10, (3, 32, 32), 256),
    ("small-cnn", 10, (1, 8, 8), 128),
    ("timm:mobilenetv2_100", 100, (3, 32, 32), 128),
    ("timm:mobilenetv2_100", 100, (3, 224, 224), 16),
    ("timm:vit_tiny_patch16_224", 100, (3, 224, 224), 16),
    ("timm:vit_tiny_patch16_224,img_size=32,patch_size=4", 10, (3, 32, 32), 128),
)


def main() -> None:
    torch.manual_seed(0)
    print("| model, side | fp32 | fp32, channels-last | bf16 | bf16, channels-last |\n| --- | --- | --- | --- | --- |")
    for name, classes, shape, count in MODELS:
        images, labels = torch.randn(count, *shape), torch.randint(0, classes, (count,))
        cells = []
        for precision in ("fp32", "bf16"):
            for channels_last in (False, True):
                runtime = Runtime(precision=precision, channels_last=channels_last)
                model = build_model(name, num_classes=classes, in_channels=shape[0]).train()
                seconds = best_step(runtime.weights(model), images, labels, runtime)
                cells.append(f"{1000 * seconds / count:.3g}")
        print(f"| {name}, {shape[-1]} | {' | '.join(cells)} |", flush=True)


def best_step(model: nn.Module, images: Tensor, labels: Tensor, runtime: Runtime) -> float:
    """Seconds of the fastest of three steps."""
    inputs, target = runtime.inputs(images.to(runtime.device)), labels.to(runtime.device)
    times = []
    for _ in range(4):
        runtime.synchronize()
        began = time.perf_counter()
        with runtime.autocast():
            loss = F.cross_entropy(logits_of(model(inputs)), target)
        model.zero_grad(set_to_none=True)
        loss.backward()
        runtime.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])


if __name__ == "__main__":
    main()
