"""Runs a script with 3x3 convolutions on maps of 1x1 and 2x2 as matrix products: the same up to rounding, and faster.

    python benchmarks/small_maps.py benchmarks/audit_cifar10.py --data DIR ...
    python benchmarks/small_maps.py -m unlearnkit train --model torchvision:resnet18 ...
    python benchmarks/small_maps.py --measure

ResNets made for 224 pixels end with maps of 2x2 and 1x1 when they see 32. Most of a 3x3 kernel then meets padding
alone, yet the CPU library computes it, and takes half of the training time for it. `--measure` prints how a training
step of ResNet18 compares with and without, and how far the gradients are apart.
"""

from __future__ import annotations

import runpy
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.models import build_model

_plain = nn.Conv2d._conv_forward


def small_maps(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `Conv2d._conv_forward` gives, (n, C, H, W) -> (n, O, H', W'); maps that are not small go to it."""
    usual = (self.kernel_size, self.padding, self.dilation) == ((3, 3), (1, 1), (1, 1)) and self.padding_mode == "zeros"
    if not usual or self.groups != 1 or bias is not None or x.ndim != 4:
        return _long_way(self, x, weight, bias)
    n, channels, *size = x.shape
    out = len(weight)
    if size == [1, 1]:  # of the kernel only the centre meets the image
        return F.linear(x.reshape(n, channels), weight[:, :, 1, 1].contiguous()).view(n, out, 1, 1)
    if size == [2, 2] and self.stride in ((1, 1), (2, 2)):  # every output sees all four places
        corners = [(0, 0)] if self.stride == (2, 2) else [(0, 0), (0, 1), (1, 0), (1, 1)]
        rows = [weight[:, :, 1 - i : 3 - i, 1 - j : 3 - j].permute(0, 2, 3, 1).flatten(1) for i, j in corners]
        seen = F.linear(x.permute(0, 2, 3, 1).flatten(1), torch.cat(rows))
        side = 2 if len(corners) == 4 else 1
        return seen.view(n, side, side, out).permute(0, 3, 1, 2)
    return _long_way(self, x, weight, bias)


def _long_way(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    convolved: Tensor = _plain(self, x, weight, bias)
    return convolved


def install() -> None:
    """Let every convolution of this process take the short way where there is one."""
    nn.Conv2d._conv_forward = small_maps  # type: ignore[assignment, method-assign]


def measure(repeats: int = 10) -> None:
    """Print a training step of ResNet18 at 32x32, batches of 256, both ways in turn."""
    torch.manual_seed(0)
    model = build_model("torchvision:resnet18", num_classes=10, in_channels=3).to(memory_format=torch.channels_last)
    images, labels = torch.randn(256, 3, 32, 32).to(memory_format=torch.channels_last), torch.randint(10, (256,))
    seconds: dict[str, list[float]] = {"as they are": [], "matrix products": []}
    gradients = {}
    for _ in range(repeats):
        for name, forward in zip(seconds, (_plain, small_maps), strict=True):
            nn.Conv2d._conv_forward = forward  # type: ignore[assignment, method-assign]
            model.zero_grad()
            began = time.perf_counter()
            F.cross_entropy(model(images), labels).backward()
            seconds[name].append(time.perf_counter() - began)
            gradients[name] = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    one, other = (statistics.median(each) / len(images) * 1000 for each in seconds.values())
    apart = max(float((a - b).norm() / a.norm()) for a, b in zip(*gradients.values(), strict=True))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}: a training step of an image")
    print(f"{one:.2f} ms as they are, {other:.2f} ms as matrix products, {one / other:.2f} times faster")
    print(f"gradients at most {apart:.0e} apart, relative to their norm")


def main() -> None:
    _, *arguments = sys.argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
    elif arguments == ["--measure"]:
        measure()
    else:
        install()
        module = arguments[0] == "-m"
        sys.argv = arguments[module:]
        if module:
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
