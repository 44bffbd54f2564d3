"""Private training: its account against closed forms, its clipping and noise against hand counts, its refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from canonical import CPU, TinyViT
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.models import AirbenchNet, SmallCNN
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.training.private import Privacy, PrivateTraining, check_private, train_private
from unlearnkit.training.recipe import Recipe

pytest.importorskip("opacus", reason="needs the extra dp")


class Lines:
    """Samples (n, 1, 1, 2) held in memory, which count what is read."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.data, self.labels, self.sizes = images, labels, list[int]()

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, positions: Tensor) -> Tensor:
        return self.data[positions]

    def stream(self, batches: Any) -> Any:
        for batch in batches:
            self.sizes.append(len(batch.positions))
            yield self.data[batch.positions]


def lines(n: int = 40, scale: float = 1.0) -> Lines:
    generator = torch.Generator().manual_seed(0)
    return Lines(scale * torch.randn(n, 1, 1, 2, generator=generator), torch.arange(n) % 2)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2))


def run(samples: Lines, model: nn.Module, seed: int = 0, **recipe: Any) -> tuple[PrivateTraining, RunLog]:
    log, made = RunLog(CPU), Recipe(**{"epochs": 2, "batch_size": 8, "lr": 0.1, **recipe})
    generator = torch.Generator().manual_seed(seed)
    privacy = Privacy(epsilon=3.0, delta=1e-3, max_grad_norm=0.5)
    return train_private(model, samples, made, privacy, stage="t", generator=generator, runtime=CPU, log=log), log


def gaussian_delta(epsilon: float, mu: float) -> float:
    """delta of the Gaussian mechanism with sensitivity over noise mu: B. Balle, Y.-X. Wang, ICML 2018, theorem 5."""
    return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu))


def test_without_sampling_the_account_is_above_the_closed_form_and_near_it() -> None:
    """All samples in every batch: T steps are one Gaussian mechanism with mu = sqrt(T) / z."""
    found, _ = run(lines(8), network(), batch_size=8, epochs=6)
    assert (found.sample_rate, found.steps) == (1.0, 6)
    mu = math.sqrt(found.steps) / found.noise_multiplier
    assert gaussian_delta(found.epsilon, mu) <= found.delta
    assert gaussian_delta(0.8 * found.epsilon, mu) > found.delta
    assert 2.9 < found.epsilon <= found.wanted_epsilon == 3.0


@pytest.mark.slow
def test_a_step_is_the_clipped_sum_with_noise_of_the_stated_size() -> None:
    """Gradients much longer than C and shorter ones: 60 seeds show their sum and the noise."""
    samples, moved = lines(8, scale=20.0), []
    for seed in range(60):
        model = network()
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        found, _ = run(samples, model, seed, batch_size=8, epochs=1, momentum=0.1, nesterov=False)
        moved.append(torch.cat([p.detach().flatten() for p in model.parameters()]) - before)
    steps = torch.stack(moved) / -0.1 * 8  # the sum of clipped gradients and noise
    model, total = network(), torch.zeros(6)
    for image, label in zip(samples.data, samples.labels, strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(image[None]), label[None]).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        total += gradient * min(1.0, 0.5 / max(float(gradient.norm()), 1e-9))
    sigma = found.noise_multiplier * 0.5
    assert torch.allclose(steps.mean(dim=0), total, atol=5 * sigma / math.sqrt(60))
    assert float(steps.std(dim=0).mean()) == pytest.approx(sigma, rel=0.15)


@pytest.mark.slow
def test_batches_are_drawn_by_chance_and_the_cost_counts_them() -> None:
    samples = lines(40)
    found, log = run(samples, network(), batch_size=2, epochs=3)
    assert len(set(samples.sizes)) > 2
    assert 0 not in samples.sizes  # but a step of noise is made of an empty batch too
    assert len(log.history["t"]) == found.steps == 60 > len(samples.sizes)
    assert log.stages["t"].samples_forward == log.stages["t"].samples_backward == sum(samples.sizes)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_the_model_is_left_plain() -> None:
    samples, models = lines(), [SmallCNN(2, 1, width=4, norm="group") for _ in range(2)]
    samples.data = torch.randn(40, 1, 8, 8)
    models[1].load_state_dict(models[0].state_dict())
    start = {key: value.clone() for key, value in models[0].state_dict().items()}
    for model in models:
        run(samples, model, batch_size=20, epochs=1)
    one, two = (model.state_dict() for model in models)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["head.weight"], start["head.weight"])
    assert not models[0]._forward_hooks
    assert all(not hasattr(p, "grad_sample") and p.grad is None for p in models[0].parameters())
    assert all(module.inplace for module in models[0].modules() if isinstance(module, nn.ReLU))


@pytest.mark.parametrize(
    ("model", "recipe", "error", "says"),
    [
        (
            SmallCNN(2, 1, width=4),
            {},
            ModelError,
            "BatchNorm mixes .* GroupNorm or LayerNorm, for example small-cnn,norm",
        ),
        (AirbenchNet(2, 1, width=8), {}, ModelError, "BatchNorm"),
        (SmallCNN(2, 1, width=4, norm="group"), {"lookahead": True}, ConfigError, "leave them out"),
    ],
)
def test_what_has_no_account_is_refused(model: nn.Module, recipe: dict[str, Any], error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        check_private(model, Recipe(**recipe), CPU)


def test_dropout_inside_a_layer_with_weights_is_refused_in_a_sentence() -> None:
    """Of attention opacus has no rule: it vectorises the layer's own forward, in which nothing may be drawn."""
    samples, model = lines(), TinyViT(2)
    samples.data = torch.randn(40, 1, 8, 8)
    with pytest.raises(ModelError, match=r"inside a layer with weights.*set that dropout to 0"):
        run(samples, model, epochs=1)
    assert not any(module._forward_hooks for module in model.modules())
    run(samples, TinyViT(2, dropout=0.0), epochs=1)
