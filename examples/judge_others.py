"""Judge checkpoints that other tools' recipes made: SalUn's file of weights, and a folder of transformers.

python examples/judge_others.py

Both recipes are written anew here, from the papers and from what the tools' READMEs say that they save:

- SalUn (C. Fan et al., arXiv 2310.12508; github.com/OPTML-Group/Unlearn-Saliency): random labels for what is to be
  forgotten, learned by the weights with the largest gradients alone. It saves {"state_dict", "evaluation_result"} with
  torch.save, NumPy's numbers among the results; its networks normalise the images themselves.
- Bad Teacher (V. S. Chundawat et al., arXiv 2205.08096): the answers of a network that knows nothing are copied on what
  is to be forgotten, the original's on the rest. Here with a small ViT, saved by save_pretrained.

Of each tool the audit gets what it leaves: the file before, the file after, and three retrained from scratch. No code
is read from a file.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from transformers import ViTConfig, ViTForImageClassification

import unlearnkit as uk
from unlearnkit.cli import app

FORGOTTEN = (1, 3, 5, 7, 9)


class Normalise(nn.Module):
    """Normalises inside the network, as SalUn's networks do; mean and deviation are in the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.3]))
        self.register_buffer("std", torch.tensor([0.4]))

    def forward(self, images: Tensor) -> Tensor:
        """Map pixels from 0 to 1 to what the layers take."""
        normalised: Tensor = (images - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)
        return normalised


class SmallResNet(nn.Module):
    """Two of torchvision's residual blocks behind a stem for small images; its names are those of a ResNet."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.normalize = Normalise()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = BasicBlock(8, 8)
        narrower = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2, bias=False), nn.BatchNorm2d(16))
        self.layer2 = BasicBlock(8, 16, stride=2, downsample=narrower)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, 1, H, W) to logits (n, K)."""
        x = self.bn1(self.conv1(self.normalize(images))).relu()
        logits: Tensor = self.fc(self.layer2(self.layer1(x)).mean(dim=(2, 3)))
        return logits


def small_vit() -> nn.Module:
    """A ViT of one layer for images of 8 x 8 pixels, drawn at random."""
    config = ViTConfig(
        image_size=8,
        patch_size=4,
        num_channels=1,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
    )
    config.num_labels = 10
    model: nn.Module = ViTForImageClassification(config)
    return model


def answers(model: nn.Module, images: Tensor) -> Tensor:
    found = model(images)
    logits: Tensor = found if isinstance(found, Tensor) else found.logits
    return logits


def learn(model: nn.Module, loss: Callable[[Tensor], Tensor], count: int, epochs: int, lr: float) -> nn.Module:
    """Train in a plain loop: `loss` is of the positions of a batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(count).split(64):
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()
    return model.eval()


def trained(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, lr: float) -> nn.Module:
    return learn(model, lambda b: F.cross_entropy(answers(model, images[b]), labels[b]), len(labels), epochs, lr)


def salun(original: nn.Module, images: Tensor, labels: Tensor, gone: Tensor) -> nn.Module:
    """Random labels for what is forgotten, the true ones for the rest; half of the weights may move."""
    model = copy.deepcopy(original)
    (-F.cross_entropy(answers(model, images[gone]), labels[gone])).backward()
    sizes = torch.cat([p.grad.abs().flatten() for p in model.parameters() if p.grad is not None])
    masks = [(p.grad.abs() > sizes.median()).float() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    for parameter, mask in zip(model.parameters(), masks, strict=True):
        parameter.register_hook(lambda grad, mask=mask: grad * mask)
    targets = torch.where(gone, torch.randint(10, labels.shape), labels)
    return trained(model, images, targets, epochs=5, lr=2e-3)


def bad_teacher(original: nn.Module, knows_nothing: nn.Module, images: Tensor, gone: Tensor) -> nn.Module:
    """Copy one teacher on what is forgotten and the other on the rest, by the divergence of their answers."""
    with torch.no_grad():
        teachers = [answers(teacher.eval(), images).log_softmax(dim=1) for teacher in (original, knows_nothing)]
    wanted = torch.where(gone[:, None], teachers[1], teachers[0])
    model = copy.deepcopy(original)

    def loss(batch: Tensor) -> Tensor:
        own = answers(model, images[batch]).log_softmax(dim=1)
        return F.kl_div(own, wanted[batch], log_target=True, reduction="batchmean")

    return learn(model, loss, len(images), epochs=3, lr=1e-3)


def judged(name: str, files: list[Path], *model: str) -> None:
    """Run `unlearnkit audit` on a tool's files: before, after, and those retrained from scratch."""
    before, after, *retrained = map(str, files)
    arguments = ["audit", "--data", "digits", *model, "--original", before, "--unlearned", after]
    for digit in FORGOTTEN:
        arguments += ["--forget", str(digit)]
    for file in retrained:
        arguments += ["--retrained", file]
    print(f"\n{name}", flush=True)
    app([*arguments, "--out", str(files[0].parent / "audit"), "--quick"], standalone_mode=False)


def main() -> None:
    data = uk.load_data("digits")
    data.fix_shape(0)
    labels = data.train.labels
    images = data.train.images(torch.arange(len(labels)), torch.device("cpu")).float() / 255
    gone = torch.isin(labels, torch.tensor(FORGOTTEN))
    sys.path.insert(0, str(Path(__file__).parent))  # where the audit finds SmallResNet
    with tempfile.TemporaryDirectory() as folder:
        for name, make, epochs in (("SalUn", lambda: SmallResNet(10), 3), ("Bad Teacher", small_vit, 8)):
            torch.manual_seed(0)
            before = trained(make(), images, labels, epochs, lr=1e-2)
            retrained = [trained(make(), images[~gone], labels[~gone], epochs, lr=1e-2) for _ in range(3)]
            place = Path(folder) / name
            if name == "SalUn":
                models = [before, salun(before, images, labels, gone), *retrained]
                files = [place / f"{i}checkpoint.pth.tar" for i in range(len(models))]
                place.mkdir()
                for model, file in zip(models, files, strict=True):
                    right = answers(model, images[gone]).argmax(dim=1) == labels[gone]
                    result = {"accuracy": {"forget": np.float64(right.double().mean())}}
                    torch.save({"state_dict": model.state_dict(), "evaluation_result": result}, file)
                judged(name, files, "--model", "judge_others:SmallResNet", "--mean", "0", "--std", "1")
            else:
                models = [before, bad_teacher(before, make(), images, gone), *retrained]
                files = [place / str(i) / "model.safetensors" for i in range(len(models))]
                for model, file in zip(models, files, strict=True):
                    assert isinstance(model, ViTForImageClassification)
                    model.save_pretrained(file.parent)
                judged(name, files, "--model", f"transformers:{files[0].parent}", "--mean", "0", "--std", "1")


if __name__ == "__main__":
    main()
