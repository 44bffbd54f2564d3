"""The training loop against plain reference loops, its batches, and its schedules."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from canonical import CPU, MODELS, TinyViT
from unlearnkit.data.samples import TensorSamples, crop_and_flip
from unlearnkit.data.view import Batch
from unlearnkit.errors import ConfigError, ModelError, NonFiniteLossError
from unlearnkit.models import SmallCNN
from unlearnkit.network import logits_of
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.batchnorm import recalibrate_batchnorm
from unlearnkit.training.loop import even_batches, train
from unlearnkit.training.losses import cross_entropy, supervised
from unlearnkit.training.predict import predict
from unlearnkit.training.recipe import Recipe, make_optimizer, rate_factor


def images_and_labels(n: int = 22, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, 1, 8, 8, generator=generator, dtype=dtype)
    return images, torch.randint(0, 4, (n,), generator=generator)


def double_cnn() -> nn.Module:
    return MODELS["cnn-grey"].model().double()


def run(model: nn.Module, samples: Any, recipe: Recipe, *, seed: int = 11, **options: Any) -> RunLog:
    log = RunLog(CPU)
    generator = torch.Generator().manual_seed(seed)
    train(model, samples, recipe, stage="train", generator=generator, runtime=CPU, log=log, **options)
    return log


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


# ---- the loop ----------------------------------------------------------------------------------------------------


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


# ---- models with other outputs -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "output",
    [torch.zeros(3), torch.zeros(3, 4, 1), (torch.zeros(3, 4),), {"logits": torch.zeros(3, 4)}, None],
    ids=["1-d", "3-d", "tuple", "dict", "none"],
)
def test_an_output_that_is_no_logits_is_refused(output: object) -> None:
    with pytest.raises(ModelError, match="logits"):
        logits_of(output)


def test_cross_entropy_is_computed_in_float32_at_least() -> None:
    logits, labels = (
        30 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 1, 2, 3, 0, 1]),
    )
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float32,) * 2, (torch.float64,) * 2):
        value = cross_entropy(nn.Identity(), logits.to(dtype), labels)
        assert value.dtype == expected
        torch.testing.assert_close(value, F.cross_entropy(logits.to(dtype).to(expected), labels))


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


# ---- predict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [1, 5, 22, 500])
def test_predict_is_in_order_in_eval_mode_and_puts_the_mode_back(batch: int, training: bool) -> None:
    images, labels = images_and_labels(22, torch.float32)
    model = MODELS["cnn-grey"].model()
    wanted = model(images).detach()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.train(training)
    logits = predict(model, TensorSamples(images, labels), Runtime(device=torch.device("cpu"), eval_batch_size=batch))
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    assert all(m.training == training for m in model.modules())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not logits.requires_grad


def test_predict_puts_back_the_mode_of_every_layer() -> None:
    images, labels = images_and_labels(4, torch.float32)
    model = MODELS["cnn-grey"].model().train()
    model.features[1].eval()  # type: ignore[union-attr,index]  # a BatchNorm held in eval mode, as in fine-tuning
    predict(model, TensorSamples(images, labels), CPU)
    assert [n for n, m in model.named_modules() if not m.training] == ["features.1"]


def test_predict_of_nothing_is_empty() -> None:
    assert len(predict(SmallCNN(4), TensorSamples(torch.empty(0, 1, 8, 8), torch.empty(0).long()), CPU)) == 0


# ---- BatchNorm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_recalibration_is_the_mean_of_the_batch_statistics_and_changes_nothing_else(training: bool) -> None:
    images, labels = images_and_labels(22)
    model = double_cnn().train(training)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    log = RunLog(CPU)
    order = torch.randperm(22, generator=torch.Generator().manual_seed(3))
    recalibrate_batchnorm(
        model,
        TensorSamples(images, labels),
        batch_size=8,
        generator=torch.Generator().manual_seed(3),
        runtime=CPU,
        log=log,
    )
    first, norm = model.features[0], model.features[1]  # type: ignore[union-attr,index]
    with torch.no_grad():
        seen = [first(images[rows]).transpose(0, 1).flatten(1) for rows in (order[:8], order[8:15], order[15:])]
    torch.testing.assert_close(norm.running_mean, sum(x.mean(dim=1) for x in seen) / 3)
    torch.testing.assert_close(norm.running_var, sum(x.var(dim=1) for x in seen) / 3)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {k for k in before if "running" in k or "num_batches" in k}
    assert all(m.training == training for m in model.modules())
    assert norm.momentum == 0.1
    assert all(p.grad is None for p in model.parameters())
    assert list(log.stages) == ["recalibrate"]


def test_recalibration_leaves_a_model_without_batchnorm_alone() -> None:
    model, log = MODELS["vit-grey"].model(), RunLog(CPU)
    samples = TensorSamples(*images_and_labels(8, torch.float32))
    recalibrate_batchnorm(
        model, samples, batch_size=4, generator=torch.Generator().manual_seed(0), runtime=CPU, log=log
    )
    assert not log.stages


# ---- batches and schedules ---------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 2000), batch_size=st.integers(1, 600))
def test_even_batches_lose_nothing_and_differ_by_one_at_most(n: int, batch_size: int) -> None:
    order = torch.randperm(n)
    batches = even_batches(order, batch_size)
    sizes = [len(b) for b in batches]
    assert len(batches) == math.ceil(n / batch_size)
    assert torch.equal(torch.cat(list(batches)), order)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("schedule", "steps", "warmup", "factors"),
    [
        ("constant", 4, 0.5, [1, 1, 1, 1]),
        ("cosine", 4, 0.5, [1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4]),
        ("cosine", 1, 0.0, [1]),
        ("one_cycle", 4, 0.0, [1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4]),
        ("one_cycle", 5, 0.4, [1 / 3, 2 / 3, 1, 0.75, 0.25]),
        ("one_cycle", 10, 0.2, [1 / 3, 2 / 3] + [0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]),
        ("one_cycle", 1, 0.2, [1 / 1.2]),
    ],
)
def test_rate_factors_equal_the_hand_calculation(
    schedule: str, steps: int, warmup: float, factors: list[float]
) -> None:
    assert [rate_factor(schedule, i, steps, warmup) for i in range(steps)] == pytest.approx(factors)


@settings(max_examples=100, deadline=None)
@given(steps=st.integers(1, 300), warmup=st.floats(0, 0.99), schedule=st.sampled_from(["cosine", "one_cycle"]))
def test_rate_factors_are_positive_and_rise_once_then_fall(steps: int, warmup: float, schedule: str) -> None:
    factors = [rate_factor(schedule, i, steps, warmup) for i in range(steps)]
    assert all(0 < f <= 1 for f in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0},
        {"lr": float("nan")},
        {"optimizer": "lion"},
        {"weight_decay": -1},
        {"schedule": "step"},
        {"warmup": 1},
        {"clip_value": 0},
        {"augment": "cutmix"},
        {"momentum": 1.0},
        {"label_smoothing": 1.0},
        {"norm_bias_lr": 0},
        {"max_shift": 0},
        {"gamma": 0.9},
    ],
)
def test_a_bad_recipe_is_a_config_error_that_names_the_setting(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Recipe(**bad)


def test_recalibration_sees_classes_mixed_however_the_samples_are_sorted() -> None:
    images, labels = images_and_labels(64)
    order = labels.argsort()
    model, seen = double_cnn(), []
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    recalibrate_batchnorm(
        model,
        TensorSamples(images[order], labels[order]),
        batch_size=16,
        generator=torch.Generator().manual_seed(0),
        runtime=CPU,
        log=RunLog(CPU),
    )
    for batch in seen:
        of_batch = {int(labels[(images == image).flatten(1).all(dim=1)][0]) for image in batch}
        assert len(of_batch) >= 3


def test_on_stored_statistics_every_step_is_taken_in_eval_mode() -> None:
    model, samples, modes = MODELS["cnn-grey"].model(), TensorSamples(*images_and_labels(6, torch.float32)), []
    before = copy.deepcopy(model.state_dict())

    def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        modes.append(any(module.training for module in network.modules()))
        return F.cross_entropy(network(images), labels)

    options = {"stage": "s", "generator": torch.Generator(), "runtime": CPU, "log": RunLog(CPU)}
    train(model.train(), samples, Recipe(batch_size=3), loss=loss, stored_statistics=True, **options)
    assert modes == [False, False]
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert all(not torch.equal(before[name], weight) for name, weight in model.named_parameters())


def test_a_batch_of_one_is_refused_for_a_model_with_batchnorm() -> None:
    samples = TensorSamples(*images_and_labels(5, torch.float32))
    options = {"stage": "s", "generator": torch.Generator(), "runtime": CPU, "log": RunLog(CPU)}
    with pytest.raises(ConfigError, match=r"two samples or more.*leave a single one; choose another batch size"):
        train(MODELS["cnn-grey"].model(), samples, Recipe(batch_size=2), **options)
    with pytest.raises(ConfigError, match=r"got a single sample; give more samples, or choose a method that keeps"):
        train(MODELS["cnn-grey"].model(), TensorSamples(*images_and_labels(1, torch.float32)), Recipe(), **options)
    train(MODELS["vit-grey"].model(), samples, Recipe(batch_size=2), **options)


# ---- pieces of a batch, rates of biases, smoothing, compile ----------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_pieces_of_a_batch_give_the_weights_of_whole_batches(size: int) -> None:
    images, labels = images_and_labels(22)
    recipe = Recipe(epochs=2, batch_size=8, lr=0.05)
    states = []
    for micro in (None, size):
        model = plain_vit()
        train(
            model,
            TensorSamples(images, labels),
            recipe,
            stage="train",
            generator=torch.Generator().manual_seed(1),
            runtime=replace(CPU, micro_batch_size=micro),
            log=RunLog(CPU),
        )
        states.append(model.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=1e-9, atol=1e-12)


def plain_vit() -> nn.Module:
    torch.manual_seed(7)
    return TinyViT(4, dropout=0.0).double()


class Hungry(nn.Module):
    """Runs out of memory on more than `most` images, as CUDA or as the CPU's allocator says it."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        super().__init__()
        self.inner, self.most, self.error = plain_vit(), most, error
        self.tried: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.tried.append(len(images))
        if len(images) > self.most:
            raise self.error
        return self.inner(images)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu"])
def test_when_memory_runs_out_the_pieces_shrink_and_the_weights_are_the_same(error: RuntimeError) -> None:
    images, labels = images_and_labels(22)
    recipe = Recipe(epochs=2, batch_size=8, lr=0.05)
    hungry, plain = Hungry(3, error), plain_vit()
    log = run(hungry, TensorSamples(images, labels), recipe)
    run(plain, TensorSamples(images, labels), recipe)
    torch.testing.assert_close(hungry.inner.state_dict(), plain.state_dict(), rtol=1e-9, atol=1e-12)
    assert log.notes["micro_batch_size"] == 2
    assert hungry.tried[:3] == [8, 4, 2]
    assert max(hungry.tried[3:]) == 2  # once found, the size stays


def test_one_image_that_does_not_fit_is_the_error_it_is() -> None:
    images, labels = images_and_labels(4)
    with pytest.raises(torch.OutOfMemoryError):
        run(Hungry(0, torch.OutOfMemoryError("CUDA out of memory.")), TensorSamples(images, labels), Recipe())


def test_other_errors_are_not_taken_for_exhausted_memory() -> None:
    images, labels = images_and_labels(8)
    model = Hungry(1, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        run(model, TensorSamples(images, labels), Recipe())
    assert model.tried == [8]


def test_biases_of_norms_have_a_rate_of_their_own_and_the_same_decay() -> None:
    model = MODELS["cnn-grey"].model()
    optimizer = make_optimizer(model, Recipe(lr=0.1, weight_decay=0.01, norm_bias_lr=8.0, momentum=0.7))
    biases = {id(m.bias) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    assert biases
    for group in optimizer.param_groups:
        is_bias = {id(p) in biases for p in group["params"]}
        assert len(is_bias) == 1
        assert group["lr"] == pytest.approx(0.8 if is_bias == {True} else 0.1)
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.001)
        assert group["momentum"] == 0.7
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


def test_label_smoothing_is_the_mean_with_the_uniform_distribution() -> None:
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    value = supervised(label_smoothing=0.2)(nn.Identity(), logits, labels)
    target = 0.8 * F.one_hot(labels, 4) + 0.2 / 4
    assert float(value) == pytest.approx(float(-(target * logits.log_softmax(1)).sum(1).mean()))


def test_the_users_own_criterion_is_the_loss() -> None:
    criterion = nn.MultiMarginLoss()
    images, labels = images_and_labels(8)
    model = double_cnn()
    value = supervised(criterion)(model, images, labels)
    assert value.item() == pytest.approx(criterion(model(images), labels).item())


@pytest.mark.slow
def test_compiled_training_counts_and_learns_the_same() -> None:
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


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_augmentation_is_set_by_the_word_that_it_is_recorded_with(augment: str) -> None:
    assert Recipe(augment="crop_flip").with_settings([f"augment={augment}"]).augment == augment
