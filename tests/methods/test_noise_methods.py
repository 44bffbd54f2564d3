"""Methods that work by noise or by images that they make, each held to its formula where the usual mistake shows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU, MODELS, tiny_data
from unlearnkit.data.samples import TensorSamples
from unlearnkit.data.view import Batch
from unlearnkit.errors import ConfigError
from unlearnkit.methods import METHODS, unlearn
from unlearnkit.methods.emmn import negative
from unlearnkit.methods.gkt import Maker, through
from unlearnkit.methods.jit import WithNoise, lipschitz
from unlearnkit.methods.noisy_finetune import NoisyFineTune
from unlearnkit.methods.sfron import ascending, coefficients
from unlearnkit.request import ForgetRequest


class Scaled(nn.Module):
    """Logits that are the pixels times a factor, plus a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * images.flatten(1) + 7


def test_jit_s_loss_on_a_scaled_identity_is_the_scale_whatever_the_noise() -> None:
    """Usual mistake: the distance is taken over the whole batch, or divided by sigma in place of the noise's length."""
    images = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    for sigma in (0.1, 2.0):
        samples = WithNoise(
            TensorSamples(images, torch.zeros(5, dtype=torch.int64)),
            torch.Generator().manual_seed(1),
            copies=3,
            sigma=sigma,
        )
        batch = samples.images(torch.arange(5))
        assert batch.shape == (5, 8, 3, 3)
        found = lipschitz(3)(Scaled(-2.5), batch, torch.zeros(5)).detach()
        assert float(found) == pytest.approx(2.5, rel=1e-4)
    drawn = (batch.unflatten(1, (4, 2))[:, 1:] - images[:, None]).std()
    assert float(drawn) == pytest.approx(2.0, rel=0.1)
    halves = []
    for share in (slice(0, 2), slice(2, 5)):  # two processes see the noise that one sees
        samples = WithNoise(
            TensorSamples(images, torch.zeros(5, dtype=torch.int64)),
            torch.Generator().manual_seed(1),
            copies=3,
            sigma=2.0,
        )
        halves += list(samples.stream([Batch(torch.arange(5), share)]))
    assert torch.equal(torch.cat(halves), batch)


def renyi_epsilon(sigma: float, steps: int, reach: float, delta: float) -> float:
    """The epsilon that shifted Renyi divergences give: each of T steps hides 2 reach / T behind noise of sigma.

    Feldman et al., "Privacy Amplification by Iteration" (arXiv 1808.06651), theorem 22: the divergence of order a is at
    most a / (2 sigma^2) times the sum of the squared shifts; then epsilon = divergence + log(1 / delta) / (a - 1).
    """
    orders = [1 + math.exp(x / 20) for x in range(-100, 200)]
    squares = steps * (2 * reach / steps) ** 2
    return min(a * squares / (2 * sigma**2) + math.log(1 / delta) / (a - 1) for a in orders)


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 1e-5), (2.8, 1e-5), (0.1, 1e-3)])
def test_noisy_fine_tuning_hides_as_much_as_it_states(epsilon: float, delta: float) -> None:
    """Usual mistake: the noise of one Gaussian mechanism, sigma for sigma^2, or steps that do not reach the start."""
    method = NoisyFineTune(epsilon=epsilon, delta=delta)
    steps, sigma = method.steps, method.sigma
    c0, c1, lr = 0.01, 0.01, 0.05
    assert steps == 20
    assert sigma**2 == pytest.approx(9 * math.log(1 / delta) * (c0 + c1 * lr * steps) ** 2 / (epsilon**2 * steps))
    # two starts in a ball of radius C0 are 2 C0 apart at most, and each step parts them by 2 lr C1 more
    reached = renyi_epsilon(sigma, steps, c0 + steps * lr * c1, delta)
    assert 0.8 * epsilon < reached <= epsilon
    with pytest.raises(ConfigError, match="a quarter of log"):
        NoisyFineTune(epsilon=3.0, delta=1e-5)


def test_noisy_fine_tuning_forgets_where_it_started_but_for_the_noise() -> None:
    """Usual mistake: weights that are not clipped, or BatchNorm's statistics of the original in the result."""
    settings = ["clip_weights=1e-6", "clip_gradient=1", "lr=1e-6", "recipe.epochs=1", "recipe.lr=1e-9"]
    method = NoisyFineTune().with_settings([*settings, "recipe.batch_size=16", "augment=false"])
    results = []
    for factor in (1.0, 30.0):
        model = MODELS["cnn-grey"].model()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point() and "running" in name:
                    value.mul_(factor)
        results.append(unlearn(model, method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU))
    first, second = (result.model.state_dict() for result in results)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-6)
    statement = results[0].notes["statement"]
    assert statement["steps"] == 1
    sigma = 3 * math.sqrt(math.log(1e5)) * 2e-6
    weights = torch.cat([value.flatten() for name, value in first.items() if name.endswith("weight")])
    assert float(weights.std()) == pytest.approx(sigma, rel=0.2)
    assert statement["noise_to_weights"] > 100  # and the notes say how little of the weights is left


def test_gkt_s_gate_holds_back_every_forgotten_class() -> None:
    """Usual mistake: the gate looks at the predicted class, or at the first forgotten class alone."""
    probabilities = torch.tensor([[0.98, 0.01, 0.01], [0.90, 0.095, 0.005], [0.90, 0.005, 0.095], [0.02, 0.97, 0.01]])
    assert through(probabilities.log(), [1, 2], 0.02).tolist() == [True, False, False, False]
    assert through(probabilities.log(), [2], 0.02).tolist() == [True, True, False, True]
    assert through(probabilities.log(), [1, 2], 1.0).all()
    assert Maker(4, (3, 9, 14)).eval()(torch.randn(2, 4)).shape == (2, 3, 9, 14)


class Brightness(nn.Module):
    """Four classes, by the mean brightness b of an image: the logit of class 2 is 10 (b - 1), the others learn."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = nn.Parameter(torch.randn(3))

    def forward(self, images: Tensor) -> Tensor:
        b = images.flatten(1).mean(dim=1, keepdim=True)
        return torch.cat([b * self.rest[:2], 10 * (b - 1), b * self.rest[2:]], dim=1)


class TwoImages(nn.Module):
    """A generator of a dark and a bright image, each of a learned brightness."""

    dark, bright = 0.1, 2.0

    def __init__(self, _noise: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size, self.levels = shape, nn.Parameter(torch.tensor([self.dark, self.bright]))

    def forward(self, seeds: Tensor) -> Tensor:
        return self.levels.repeat(len(seeds) // 2).reshape(-1, 1, 1, 1).expand(-1, *self.size)


@pytest.mark.parametrize(("dark", "passed"), [(0.1, 4), (2.0, 0)])
def test_gkt_s_generator_earns_nothing_by_images_that_are_held_back(
    monkeypatch: pytest.MonkeyPatch, dark: float, passed: int
) -> None:
    """Usual mistake: the generator is rewarded by the class that the student never learns, and makes no other."""
    monkeypatch.setattr(TwoImages, "dark", dark)
    made = []
    monkeypatch.setattr("unlearnkit.methods.gkt.Maker", lambda *args: made.append(TwoImages(*args)) or made[0])
    method = METHODS["gkt"]().with_settings(["rounds=3", "batch_size=8", "student_repeats=1", "gate=0.2"])
    result = unlearn(
        Brightness(), method, tiny_data(), ForgetRequest(classes=(2,)), factory=Brightness, seed=0, runtime=CPU
    )
    now = made[0].levels.detach().tolist()
    assert result.notes["gate"] == {"made": 24, "passed": 3 * passed}
    if passed:
        assert now[0] != pytest.approx(dark, abs=1e-4)
        assert now[1] == TwoImages.bright
    else:  # none passes: both are darkened until they do
        assert max(now) < TwoImages.bright


def test_emmn_s_second_noise_lowers_the_error_that_the_first_raises() -> None:
    """Usual mistake: both noises maximise."""
    logits, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    assert float(negative(None)(logits, labels)) == -float(nn.functional.cross_entropy(logits, labels))
    settings = ["noise.batch_size=8", "noise.steps=15", "noise.lr=0.5", "noise.penalty=0", "impair.lr=1e-9"]
    method = METHODS["emmn"]().with_settings(settings)
    model = MODELS["cnn-grey"].model()
    result = unlearn(model, method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU)
    with torch.no_grad():
        worst = model(result.images["noise"][2]).softmax(dim=1)[:, 2]
        best = [model(images).softmax(dim=1)[:, k] for k, images in result.images["noise_retained"].items()]
        plain = model(torch.randn(64, 1, 8, 8)).softmax(dim=1)
    assert float(worst.mean()) < float(plain[:, 2].mean())
    assert all(float(found.mean()) > float(plain[:, k].mean()) for k, found in zip((0, 1, 3), best, strict=True))
    assert set(result.images["noise_retained"]) == {0, 1, 3}


def test_sfron_pushes_known_samples_harder_and_through_salient_weights_alone() -> None:
    """Usual mistake: l^lambda, which pushes hardest what is forgotten already; a mask that training ignores."""
    losses = torch.tensor([0.01, 1.0, 4.0])
    found = coefficients(losses, 0.5)
    torch.testing.assert_close(found / found[1], torch.tensor([10.0, 1.0, 0.5]))
    assert float(found.mean()) == pytest.approx(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images, labels = torch.randn(3, 1, 2, 2), torch.tensor([0, 1, 2])
    value = ascending(found, labels, None)(model, images[[2, 0]], torch.tensor([2, 0]))
    own = nn.functional.cross_entropy(model(images), labels, reduction="none")
    torch.testing.assert_close(value, -(found[2] * own[2] + found[0] * own[0]) / 2)
    before = MODELS["cnn-grey"].model()
    settings = ["threshold=1e6", "rounds=1", "ascent.lr=0.1", "descent.lr=1e-9", "passes=1"]
    method = METHODS["sfron"]().with_settings(settings)
    after = unlearn(before, method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU).model
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-6, msg=name)
