"""Forget a class of a model of your own from Python: here a plain PyTorch network, trained in a plain PyTorch loop.

python examples/own_model.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import unlearnkit as uk


def main() -> None:
    torch.manual_seed(0)
    bunch = load_digits()
    images = torch.from_numpy(bunch.images * 255 / 16).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    data = uk.ImageData(
        source="my digits",
        classes=tuple(str(name) for name in bunch.target_names),
        train=uk.ImageSet.from_tensor(images[:1400], labels[:1400]),
        test=uk.ImageSet.from_tensor(images[1400:], labels[1400:]),
        preprocessing=uk.Preprocessing(mean=(0.5,), std=(0.25,)),
    )
    model = trained(data.normalise(images[:1400]), labels[:1400])

    request = uk.ForgetRequest(classes=("7",))
    result = uk.unlearn(model, uk.UNSIR(), data, request, seed=0)

    inputs, truth = data.normalise(images[1400:]), labels[1400:]
    for name, network in (("before", model.eval()), ("after", result.model)):
        with torch.no_grad():
            right = network(inputs).argmax(dim=1) == truth
        forgotten, retained = right[truth == 7].float().mean(), right[truth != 7].float().mean()
        print(f"{name}: accuracy on class 7 {forgotten:.1%}, on the others {retained:.1%}")
    read = result.access.forget_samples_read(result.split)
    print(f"samples of class 7 read: {read}; seconds: {result.cost['total']['seconds']:.1f}")


def trained(inputs: Tensor, labels: Tensor) -> nn.Module:
    """Train a small network without BatchNorm; any nn.Module that returns logits will do."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(20):
        for batch in torch.randperm(len(inputs)).split(64):
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


if __name__ == "__main__":
    main()
