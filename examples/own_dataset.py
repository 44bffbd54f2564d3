"""Forget a class with a torch Dataset, a random transform and a loss of your own; the deleted images are never read.

python examples/own_dataset.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import unlearnkit as uk


class Digits(Dataset[tuple[Tensor, int]]):
    """Images as the model takes them, slightly shifted at random; `targets` tells the labels without reading one."""

    def __init__(self, rows: slice) -> None:
        bunch = load_digits()
        self.images = torch.from_numpy(bunch.images[rows] / 16).float().unsqueeze(1)
        self.targets = bunch.target[rows].tolist()
        self.read: set[int] = set()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read.add(self.targets[index])
        shift = int(torch.randint(-1, 2, ()))
        return self.images[index].roll(shift, dims=2), self.targets[index]


def main() -> None:
    torch.manual_seed(0)
    train, test = Digits(slice(1400)), Digits(slice(1400, None))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    model = trained(train, criterion)
    train.read.clear()

    data = uk.from_datasets(train, test, classes=[f"digit {k}" for k in range(10)])
    request = uk.ForgetRequest(classes=("digit 7",))
    result = uk.unlearn(model, uk.UNSIR(), data, request, seed=0, criterion=criterion)

    print(f"classes that were read: {sorted(train.read)}")
    images, labels = test.images, torch.tensor(test.targets)
    for name, network in (("before", model), ("after", result.model)):
        with torch.no_grad():
            right = network.eval()(images).argmax(dim=1) == labels
        forgotten, retained = right[labels == 7].float().mean(), right[labels != 7].float().mean()
        print(f"{name}: accuracy on digit 7 {forgotten:.1%}, on the others {retained:.1%}")


def trained(train: Digits, criterion: nn.Module) -> nn.Module:
    """Train in a plain PyTorch loop."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(15):
        for images, labels in DataLoader(train, batch_size=64, shuffle=True):
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


if __name__ == "__main__":
    main()
