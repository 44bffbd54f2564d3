"""Fisher forgetting's noise and SSD's dampening, against their formulas in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unlearnkit.methods.fisher as fisher_module
from canonical import CPU, MODELS, tiny_data
from unlearnkit.data import ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.errors import ConfigError
from unlearnkit.methods import SSD, FisherForgetting, Unlearned, unlearn
from unlearnkit.methods.common.dampening import dampen
from unlearnkit.methods.fisher import add_noise, noise_variance
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part

# ---- Fisher forgetting -------------------------------------------------------------------------------------------


def test_the_variance_of_the_noise_is_alpha_over_the_root_of_the_information() -> None:
    information = torch.tensor([0.0, 1e-4, 1.0, 100.0], dtype=torch.float64)
    found = noise_variance(information, alpha=0.5, floor=1e-6)
    wanted = [0.5 / math.sqrt(f + 1e-6) for f in information.tolist()]
    assert found.tolist() == pytest.approx(wanted)
    assert float(found[0]) == pytest.approx(500)  # the floor bounds it
    # the standard deviation falls with the fourth root of the information, as the paper's F^(-1/4)
    assert float((found[2] / found[3]).sqrt()) == pytest.approx(100**0.25, rel=1e-5)


def test_the_noise_that_is_added_has_that_variance_and_mean_zero() -> None:
    n, variances = 40_000, (0.04, 1.0, 9.0)
    weights = {str(v): torch.full((n,), 5.0) for v in variances}
    add_noise(weights, {str(v): torch.full((n,), v) for v in variances}, torch.Generator().manual_seed(0))
    for v in variances:
        noise = weights[str(v)] - 5
        assert float(noise.var()) == pytest.approx(v, rel=5 * math.sqrt(2 / n))
        assert abs(float(noise.mean())) < 5 * math.sqrt(v / n)


def test_a_run_scales_the_noise_weight_by_weight_by_the_information_of_the_retained_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}

    def given(model: nn.Module, samples: Any, *_: Any, **__: Any) -> dict[str, Tensor]:
        seen["labels"] = set(samples.labels.tolist())
        generator = torch.Generator().manual_seed(1)
        seen["information"] = {
            name: 10 ** (-6 * torch.rand(p.shape, generator=generator)) for name, p in model.named_parameters()
        }
        return seen["information"]

    monkeypatch.setattr(fisher_module, "fisher_diagonal", given)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 200), nn.ReLU(), nn.Linear(200, 4))
    method = FisherForgetting(alpha=1e-3, floor=1e-8)
    result = unlearn(model, method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU)
    assert seen["labels"] == {0, 1, 3}
    information = seen["information"]["1.weight"]
    noise = (result.model.get_parameter("1.weight") - model.get_parameter("1.weight")).detach()
    standard = noise / (1e-3 / (information + 1e-8).sqrt()).sqrt()
    n = noise.numel()
    for part in (information < 1e-3, information >= 1e-3):
        assert float(standard[part].var()) == pytest.approx(1, rel=6 * math.sqrt(2 / int(part.sum())))
    variances = torch.cat([(1e-3 / (i + 1e-8).sqrt()).flatten() for i in seen["information"].values()])
    assert result.notes["noise_rms"] == pytest.approx(float(variances.mean().sqrt()), rel=1e-4)
    assert n == 12_800


def test_more_information_less_movement_on_a_real_model() -> None:
    """A weight that sees a pixel which is always zero has no information: it gets the most noise of all."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    images = torch.tensor([[5.0, 0.0], [4.0, 0.0], [3.0, 0.0], [-5.0, 0.0]] * 50).view(200, 1, 1, 2)
    labels = torch.tensor([0, 0, 0, 1] * 50)
    data = float_data(images, labels, classes=3)
    model[1] = nn.Linear(2, 3, bias=False)
    method = FisherForgetting(alpha=1e-6)
    moved = []
    for seed in range(20):
        result = unlearn(model, method, data, ForgetRequest(classes=(2,)), seed=seed, runtime=CPU)
        moved.append((result.model[1].weight - model[1].weight).detach())  # type: ignore[index]
    rms = torch.stack(moved).square().mean(dim=(0, 1)).sqrt()
    assert float(rms[1]) == pytest.approx(math.sqrt(1e-6 / math.sqrt(1e-8)), rel=0.4)
    assert float(rms[0]) < float(rms[1]) / 3


# ---- SSD ---------------------------------------------------------------------------------------------------------


def float_data(images: Tensor, labels: Tensor, classes: int = 2) -> ImageData:
    """Float images as the model takes them, the same for training and test."""
    names = tuple("abcdefgh"[:classes])
    train, test = (ImageSet.from_tensor(images, labels) for _ in range(2))
    fed = Preprocessing(mean=(0.0,), std=(1.0,))
    return ImageData(source="floats", classes=names, train=train, test=test, preprocessing=fed)


class TwoWeights(nn.Module):
    """Logits (w_0 a, w_1 b) for an image of the two pixels a and b."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, 1.5]))

    def forward(self, images: Tensor) -> Tensor:
        return self.w * images.flatten(1)


# Class 0 is forgotten, two images twice each; class 1 stays, two images four times each, one of them held out. The two
# images of a class have gradients of other sizes and signs, so that the mean of squares is not the square of the mean.
FORGET, RETAIN = [(2.0, 0.5), (-1.0, 1.0)], [(0.5, 1.0), (-0.5, -1.0)]


def slopes(a: float, b: float, y: int) -> tuple[float, float]:
    """Gradient of the cross-entropy of softmax(w_0 a, w_1 b) at w = (1/2, 3/2), by hand."""
    u, v = math.exp(0.5 * a), math.exp(1.5 * b)
    return (u / (u + v) - (y == 0)) * a, (v / (u + v) - (y == 1)) * b


def two_weight_run(method: SSD) -> tuple[Unlearned, dict[str, list[float]], float]:
    """The result, the importances by hand, and the share of the forget data."""
    points = torch.tensor(FORGET * 2 + RETAIN * 4)
    data = float_data(points.view(12, 1, 1, 2), torch.tensor([0] * 4 + [1] * 8))
    result = unlearn(TwoWeights(), method, data, ForgetRequest(classes=("a",)), seed=0, runtime=CPU)
    share, found, mistake = 4 / 11, {}, {}
    for name, part, y, count in (("forget", Part.FORGET_TRAIN, 0, 4), ("retain", Part.RETAIN_TRAIN, 1, 7)):
        each = [slopes(*points[row].tolist(), y) for row in result.split[part]]
        assert len(each) == count
        found[name] = [sum(g[i] ** 2 for g in each) / count for i in range(2)]
        mistake[name] = [(sum(g[i] for g in each) / count) ** 2 for i in range(2)]
    for importance in (found, mistake):
        importance["all"] = [share * f + (1 - share) * r for f, r in zip(*importance.values(), strict=True)]
    # the square of the mean gradient would choose the other weight
    assert mistake["forget"][0] < 0.1 * mistake["all"][0]
    assert mistake["forget"][1] > 1.5 * mistake["all"][1]
    return result, found, share


@pytest.mark.parametrize("dampening", [1.0, 0.5, 100.0])
def test_ssd_dampens_the_weight_that_its_formula_selects_and_no_other(dampening: float) -> None:
    alpha = 1.5
    result, i, _ = two_weight_run(SSD(alpha=alpha, dampening=dampening))
    assert i["forget"][0] > alpha * i["all"][0]
    assert i["forget"][1] < alpha * i["all"][1]
    w = result.model.get_parameter("w").tolist()
    assert w[0] == pytest.approx(0.5 * min(dampening * i["all"][0] / i["forget"][0], 1), rel=1e-4)
    assert w[1] == 1.5
    assert result.notes["ssd"] == {"alpha": alpha, "dampened": 1}


def test_the_default_chooses_by_the_ratio_to_the_retained_importance() -> None:
    _, i, share = two_weight_run(SSD(alpha=1.5))
    exact = i["forget"][0] / i["retain"][0]
    assert exact > i["forget"][1] / i["retain"][1]
    for ratio, dampened in ((exact * 0.999, 1), (exact * 1.001, 0)):
        result, _, _ = two_weight_run(SSD(ratio=ratio))
        assert result.notes["ssd"]["dampened"] == dampened
        assert result.notes["ssd"]["alpha"] == pytest.approx(ratio / (1 - share + share * ratio))


def test_an_alpha_that_can_choose_no_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"alpha below 2\.75"):
        two_weight_run(SSD(alpha=2.75))
    two_weight_run(SSD(alpha=2.74))
    two_weight_run(SSD(ratio=1e6))  # by the ratio any request can be met


def test_dampening_leaves_every_other_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, of_all, of_forget = (torch.rand(50, 40, generator=generator) for _ in range(3))
    before = weight.clone()
    count = dampen({"w": weight}, {"w": of_all}, {"w": of_forget}, alpha=2.0, dampening=1.0)
    chosen = of_forget > 2 * of_all
    assert count == int(chosen.sum()) > 100
    assert torch.equal(weight[~chosen], before[~chosen])
    torch.testing.assert_close(weight[chosen], (before * of_all / of_forget)[chosen])


def test_weights_without_any_importance_stay() -> None:
    weight, nothing = torch.ones(3), torch.zeros(3)
    assert dampen({"w": weight}, {"w": nothing}, {"w": nothing.clone()}, alpha=1.0, dampening=1.0) == 0
    assert torch.equal(weight, torch.ones(3))


@pytest.mark.parametrize("method", [SSD(ratio=1.1), FisherForgetting()], ids=["ssd", "fisher"])
def test_buffers_stay(method: Any) -> None:
    model = MODELS["cnn-grey"].model()
    result = unlearn(model, method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU)
    for name, value in model.named_buffers():
        assert torch.equal(result.model.get_buffer(name), value), name
