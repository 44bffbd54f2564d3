"""The training loop against plain reference loops: what it sees, what it leaves alone, and where it stops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonical import CPU, MODELS
from training_runs import double_cnn, images_and_labels, run
from unlearnkit.data.samples import TensorSamples, crop_and_flip
from unlearnkit.data.view import Batch
from unlearnkit.errors import ModelError, NonFiniteLossError
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.loop import train
from unlearnkit.training.losses import cross_entropy
from unlearnkit.training.predict import predict
from unlearnkit.training.recipe import Recipe


class Recorder:
    """Samples that remember which positions were read."""

    def __init__(self, n: int) -> None:
        self._images, self.labels = images_and_labels(n)
        self.batches: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, positions: Tensor) -> Tensor:
        self.batches.append(positions.tolist())
        return self._images[positions]

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        for batch in batches:
            yield self.images(batch.positions[batch.mine])


def reference_sgd(parameters: list[Tensor], state: list[Tensor], recipe: Recipe, lr: float) -> None:
    """Nesterov SGD by hand: v <- 0.9 v + g; theta <- theta - lr (g + 0.9 v)."""
    for i, p in enumerate(parameters):
        g = p.grad + recipe.weight_decay * p
        v = g.clone() if len(state) <= i else 0.9 * state[i] + g
        if len(state) <= i:
            state.append(v)
        state[i] = v
        p -= lr * (g + 0.9 * v)


def reference_adam(parameters: list[Tensor], state: list[Tensor], recipe: Recipe, lr: float, step: int) -> None:
    """Adam by hand; with `adamw` the decay is applied to the weights themselves."""
    for i, p in enumerate(parameters):
        g = p.grad.clone()
        if recipe.optimizer == "adamw":
            p -= lr * recipe.weight_decay * p
        else:
            g += recipe.weight_decay * p
        if len(state) <= i:
            state.append(torch.zeros(2, *p.shape, dtype=p.dtype))
        m, v = state[i]
        m.mul_(0.9).add_(0.1 * g)
        v.mul_(0.999).add_(0.001 * g * g)
        p -= lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_training_equals_a_plain_loop(optimizer: str, schedule: str) -> None:
    recipe = Recipe(
        epochs=2, batch_size=8, optimizer=optimizer, lr=0.02, weight_decay=0.01, schedule=schedule, clip_value=0.05
    )
    images, labels = images_and_labels(22)
    model, plain = double_cnn(), double_cnn()
    log = run(model, TensorSamples(images, labels), recipe)

    generator, losses, state = torch.Generator().manual_seed(11), [], []
    factors = {
        "constant": [1.0] * 6,
        "cosine": [0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)],
        # 20 % of 6 steps: two steps of warm-up, at 1/2.2 and 2/2.2, then a cosine over the other 4.8
        "one_cycle": [1 / 2.2, 2 / 2.2] + [0.5 * (1 + math.cos(math.pi * (i - 1.2) / 4.8)) for i in range(2, 6)],
    }[schedule]
    plain.train()
    parameters = list(plain.parameters())
    for step in range(6):
        if step % 3 == 0:
            order = torch.randperm(22, generator=generator)
        batch = order[[slice(0, 8), slice(8, 15), slice(15, 22)][step % 3]]
        loss = F.cross_entropy(plain(images[batch]), labels[batch])
        plain.zero_grad()
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for p in parameters:
                p.grad.clamp_(-0.05, 0.05)
            if optimizer == "sgd":
                reference_sgd(parameters, state, recipe, 0.02 * factors[step])
            else:
                reference_adam(parameters, state, recipe, 0.02 * factors[step], step + 1)
    assert log.history["train"] == pytest.approx(losses, abs=1e-9)
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=1e-9)
    assert model.training


@pytest.mark.parametrize(("n", "batch_size", "epochs"), [(1, 5, 1), (10, 3, 3), (9, 3, 2), (7, 100, 2)])
def test_every_sample_is_seen_once_an_epoch_in_a_new_order(n: int, batch_size: int, epochs: int) -> None:
    samples = Recorder(n)
    run(MODELS["vit-grey"].model().double(), samples, Recipe(epochs=epochs, batch_size=batch_size, lr=1e-3))
    per_epoch = math.ceil(n / batch_size)
    assert len(samples.batches) == epochs * per_epoch
    flat = list(chain.from_iterable(samples.batches))
    orders = [flat[e * n : (e + 1) * n] for e in range(epochs)]
    assert all(sorted(order) == list(range(n)) for order in orders)
    if n > 5 and epochs > 1:
        assert orders[0] != orders[1]
        assert orders[0] != sorted(orders[0])


def test_the_order_and_the_augmentation_come_from_the_generator() -> None:
    images, labels = images_and_labels(16)
    recipe = Recipe(batch_size=8, lr=0.05, augment="crop_flip")
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(states))
        model = double_cnn()
        run(model, TensorSamples(images, labels), recipe, seed=seed)
        states.append(model.head.weight.detach())  # type: ignore[union-attr]
    assert torch.equal(states[0], states[1])  # type: ignore[arg-type]
    assert not torch.equal(states[0], states[2])  # type: ignore[arg-type]


def test_crop_flip_augments_what_the_model_sees() -> None:
    images, labels = images_and_labels(12)
    seen: list[Tensor] = []

    def watch(model: nn.Module, batch: Tensor, labels: Tensor) -> Tensor:
        seen.append(batch)
        return cross_entropy(model, batch, labels)

    run(double_cnn(), TensorSamples(images, labels), Recipe(batch_size=12, augment="crop_flip"), loss=watch)
    generator = torch.Generator().manual_seed(11)
    mirrored = torch.rand(12, generator=generator) < 0.5
    order = torch.randperm(12, generator=generator)
    assert torch.equal(seen[0], crop_and_flip(images[order], generator, flip=mirrored[order]))
    assert not torch.equal(seen[0], images[order])


def test_the_loss_gets_the_labels_of_its_images() -> None:
    images, labels = images_and_labels(17)
    run_labels: list[tuple[Tensor, Tensor]] = []

    def watch(model: nn.Module, batch: Tensor, given: Tensor) -> Tensor:
        run_labels.append((batch, given))
        return cross_entropy(model, batch, given)

    run(double_cnn(), TensorSamples(images, labels), Recipe(batch_size=4), loss=watch)
    for batch, given_labels in run_labels:
        for image, label in zip(batch, given_labels, strict=True):
            (row,) = [i for i in range(17) if torch.equal(images[i], image)]
            assert label == labels[row]


def test_frozen_parameters_are_unchanged_even_by_weight_decay_and_leftover_gradients() -> None:
    images, labels = images_and_labels()
    model = double_cnn()
    held = model.features[0].weight  # type: ignore[union-attr,index]
    held.grad = torch.ones_like(held)
    held.requires_grad_(False)
    before = held.detach().clone()
    head = model.head.weight.detach().clone()  # type: ignore[union-attr]
    run(model, TensorSamples(images, labels), Recipe(batch_size=8, optimizer="adamw", weight_decay=0.5))
    assert torch.equal(held, before)
    assert not held.requires_grad
    assert not torch.equal(model.head.weight, head)  # type: ignore[union-attr,arg-type]


def test_leftover_gradients_do_not_leak_into_the_first_step() -> None:
    images, labels = images_and_labels()
    clean, dirty = double_cnn(), double_cnn()
    for p in dirty.parameters():
        p.grad = torch.full_like(p, 100.0)
    for model in (clean, dirty):
        run(model, TensorSamples(images, labels), Recipe(batch_size=8))
    torch.testing.assert_close(clean.state_dict(), dirty.state_dict(), rtol=0, atol=0)


def test_a_model_that_is_all_frozen_is_refused() -> None:
    with pytest.raises(ModelError, match="frozen"):
        run(double_cnn().requires_grad_(False), TensorSamples(*images_and_labels()), Recipe())


def test_the_learning_rate_brings_the_loss_down() -> None:
    images, labels = images_and_labels(32)
    log = run(double_cnn(), TensorSamples(images, labels), Recipe(epochs=30, batch_size=16, lr=0.05))
    assert sum(log.history["train"][-4:]) < 0.5 * sum(log.history["train"][:4])


@pytest.mark.parametrize("bad_step", [1, 5, 17, 20])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(bad_step: int) -> None:
    calls = []

    def loss(model: nn.Module, batch: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        return cross_entropy(model, batch, labels) * (float("nan") if len(calls) == bad_step else 1.0)

    images, labels = images_and_labels(40)
    with pytest.raises(NonFiniteLossError, match=rf"'train' became nan at step {bad_step};"):
        run(double_cnn(), TensorSamples(images, labels), Recipe(batch_size=2, lr=1e-9), loss=loss)


class WithLogits(nn.Module):
    """Returns an object with `.logits`, as the models of other libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = double_cnn()

    def forward(self, images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.inner(images))


def test_a_model_that_returns_an_object_with_logits_trains_and_predicts_alike() -> None:
    samples = TensorSamples(*images_and_labels())
    plain, wrapped = double_cnn(), WithLogits()
    for model in (plain, wrapped):
        run(model, samples, Recipe(batch_size=8))
    torch.testing.assert_close(plain.state_dict(), wrapped.inner.state_dict(), rtol=0, atol=0)
    assert torch.equal(predict(plain, samples, CPU), predict(wrapped, samples, CPU))


def test_bf16_training_keeps_float32_weights_and_is_near_fp32() -> None:
    images, labels = images_and_labels(16, torch.float32)
    states = []
    for precision in ("fp32", "bf16"):
        runtime = Runtime(device=torch.device("cpu"), precision=precision)
        model = MODELS["cnn-grey"].model()
        generator = torch.Generator().manual_seed(0)
        train(
            model,
            TensorSamples(images, labels),
            Recipe(batch_size=8, lr=0.01),
            stage="train",
            generator=generator,
            runtime=runtime,
            log=RunLog(runtime),
        )
        states.append(model.state_dict())
    assert all(a.dtype == b.dtype for a, b in zip(states[0].values(), states[1].values(), strict=True))
    torch.testing.assert_close(states[0], states[1], rtol=0.1, atol=0.02)
    assert not torch.equal(states[0]["head.weight"], states[1]["head.weight"])


@pytest.mark.slow
def test_compiled_training_counts_and_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and split up as for a compiler; the machine code is torch's business, and takes most of the time."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    images, labels = images_and_labels(16)
    logs, states = [], []
    for runtime in (CPU, replace(CPU, compile=True)):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)]  # compiled soon
        model = nn.Sequential(*layers).double()
        log = RunLog(runtime)
        log.meter.attach(model)
        train(
            model,
            TensorSamples(images, labels),
            Recipe(batch_size=8, lr=0.05),
            stage="train",
            generator=torch.Generator().manual_seed(1),
            runtime=runtime,
            log=log,
        )
        logs.append(log.cost()["stages"]["train"])
        states.append(model.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=1e-6, atol=1e-8)
    assert logs[0]["samples_forward"] == logs[1]["samples_forward"] == 16
    assert logs[0]["samples_backward"] == logs[1]["samples_backward"] == 16
