"""Methods that edit weights directly, each held to its formula where the usual mistake would show."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU, MODELS, tiny_data
from unlearnkit.data import ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.methods import METHODS, shrink_distill, unlearn
from unlearnkit.methods.common import shrinking
from unlearnkit.methods.common.soft_targets import outputs_of
from unlearnkit.methods.conv_transpose import transpose_kernels
from unlearnkit.methods.damp import residual_basis, separability
from unlearnkit.methods.msg import draw_again
from unlearnkit.methods.ntk import solution, targets
from unlearnkit.methods.svd_projection import project, soft_projection
from unlearnkit.methods.weight_damage import damage
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part, split_for


def points(images: Tensor, labels: Tensor, classes: int) -> ImageData:
    """Vectors as images of one row."""
    train, test = (ImageSet.from_tensor(images.view(len(labels), 1, 1, -1), labels) for _ in range(2))
    fed = Preprocessing(mean=(0.0,), std=(1.0,))
    names = tuple("abcdefgh"[:classes])
    return ImageData(source="points", classes=names, train=train, test=test, preprocessing=fed)


def linear(inputs: int, classes: int) -> nn.Sequential:
    """A head alone, without bias."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes, bias=False))


def forgotten(model: nn.Module, name: str, data: ImageData, *classes: int, **settings: Any) -> nn.Module:
    """The model after a run."""
    method = METHODS[name].presets()["default"]().model_copy(update=settings)
    return unlearn(model, method, data, ForgetRequest(classes=classes), seed=0, runtime=CPU).model


def test_lfssd_does_not_let_gradients_of_opposite_sign_cancel_and_needs_no_label() -> None:
    """Usual mistake: the absolute value of the mean gradient, which is zero for x and -x; and the loss in its place."""
    images = torch.tensor([[2.0, 0.0], [-2.0, 0.0]] * 8 + [[0.0, 1.0], [0.0, -1.0]] * 8)
    labels = torch.tensor([0] * 16 + [1, 2] * 8)
    model = linear(2, 3)
    after = forgotten(model, "lfssd", points(images, labels, 3), 0, ratio=2.0)
    before, found = model[1].weight, after[1].weight  # d |Wx|^2 / dW = 2 W x x^T: the first column is the class's
    assert torch.equal(found[:, 1], before[:, 1])
    assert (found[:, 0].abs() < before[:, 0].abs()).all()
    other = forgotten(model, "lfssd", points(images, torch.tensor([0] * 16 + [2, 1] * 8), 3), 0, ratio=2.0)
    assert torch.equal(other[1].weight, found)


def test_ct_swaps_the_spatial_axes_and_nothing_else() -> None:
    """Usual mistake: inputs and outputs swapped, or a shared kernel transposed twice."""
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, (1, 3)), nn.Conv2d(2, 4, 1))
    model.append(model[0])
    before = [layer.weight.detach().clone() for layer in model]
    assert transpose_kernels(model) == 1
    assert torch.equal(model[0].weight[1, 0, 0, 2], before[0][1, 0, 2, 0])
    assert torch.equal(model[0].weight, before[0].mT)
    assert all(torch.equal(model[i].weight, before[i]) for i in (1, 2))
    transpose_kernels(model)
    assert torch.equal(model[0].weight, before[0])
    with pytest.raises(ModelError, match="weight-damage"):
        transpose_kernels(nn.Linear(3, 3))


def test_msg_draws_the_smallest_gaps_of_each_kernel_again() -> None:
    """Usual mistake: the largest gaps (the salient weights), or one threshold over all layers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3))
    before = [layer.weight.detach().clone() for layer in model]
    gaps = {f"{i}.weight": 10.0**i * torch.arange(layer.weight.numel()).view_as(layer.weight) for i, layer in
            enumerate(model)}  # fmt: skip
    masks = draw_again(model, gaps, 1 / 3)
    for i, layer in enumerate(model):
        changed = (layer.weight != before[i]).flatten()
        assert torch.equal(changed, masks[f"{i}.weight"].flatten())
        assert changed.nonzero().flatten().tolist() == list(range(len(changed) // 3))


@pytest.mark.parametrize(("mode", "size"), [("distortion", 0.02), ("attenuation", 0.5), ("dropout", 0.2)])
def test_weight_damage_does_what_its_mode_says(mode: Any, size: float) -> None:
    """Usual mistake: a variance taken for a deviation, the share that is kept for the share that is dropped."""
    n = 40_000
    weights = {"w": torch.full((n,), 3.0)}
    damage(weights, mode, size, torch.Generator().manual_seed(0))
    found = weights["w"]
    if mode == "distortion":
        assert float((found - 3).std()) == pytest.approx(size, rel=0.02)
    elif mode == "attenuation":
        assert torch.equal(found, torch.full((n,), 1.5))
    else:
        assert float((found == 0).float().mean()) == pytest.approx(size, abs=0.01)
        assert set(found.tolist()) == {0.0, 3.0}


def test_the_svd_projection_takes_out_the_forgotten_space_alone_and_nothing_where_it_is_the_retained_one() -> None:
    """Usual mistake: W P_f without the part that is spared, or the projection on the outputs' side."""
    axes = torch.eye(4, dtype=torch.float64)
    of_forget, of_retain = torch.outer(axes[0], axes[0]), torch.diag(torch.tensor([0.0, 1, 1, 0], dtype=torch.float64))
    big = 1e9
    remove, spare = soft_projection(of_forget, big), soft_projection(of_retain, big)
    torch.testing.assert_close(remove, of_forget)
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    edited = weight.clone()
    project(edited, remove - remove @ spare)
    torch.testing.assert_close(edited, weight * torch.tensor([0.0, 1, 1, 1]))
    project(edited := weight.clone(), spare - spare @ spare)  # forget data in the retained space
    torch.testing.assert_close(edited, weight, atol=1e-5, rtol=1e-5)
    nothing = soft_projection(torch.zeros(4, 4, dtype=torch.float64), 100.0)  # no forget data: every lambda is 0
    assert not nothing.any()
    # scale 1 gives the shares themselves
    torch.testing.assert_close(soft_projection(of_retain, 1.0), of_retain / 2)


def test_damp_is_i_minus_a_d_d_t_with_the_direction_of_the_residual() -> None:
    """Usual mistake: the forgotten prototype itself is projected out, with what it shares with retained classes."""
    kept, gone = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0]]), torch.tensor([[3.0, 1, 2, 0]])
    basis = residual_basis(gone.double(), kept.double())
    torch.testing.assert_close(basis.abs(), torch.tensor([[0.0], [0], [1], [0]], dtype=torch.float64))
    weight = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    edited = weight.clone()
    project(edited, 0.7 * basis @ basis.T)
    torch.testing.assert_close(edited, weight * torch.tensor([1, 1, 0.3, 1]))
    assert residual_basis(kept[:1].double(), kept.double()).shape == (4, 0)
    assert separability(gone, kept, gone, kept) == 1.0
    assert separability(kept, kept, kept, kept) == 0.0  # what cannot be told apart is not changed


def test_ntk_scrubbing_of_a_ridge_regression_is_ridge_regression_on_what_is_left() -> None:
    """Usual mistake: the change for the forget data alone in place of the difference, or n lambda of the wrong n."""
    generator = torch.Generator().manual_seed(0)
    images, targets_nK = (torch.randn(12, d, generator=generator, dtype=torch.float64) for d in (5, 3))
    decay = 0.1

    def ridge(rows: slice) -> Tensor:
        x, y = images[rows], targets_nK[rows]
        return torch.linalg.solve(x.T @ x + len(x) * decay * torch.eye(5, dtype=torch.float64), x.T @ y).T

    fitted = ridge(slice(0, 12))
    blocks = [torch.kron(torch.eye(3, dtype=torch.float64), row[None]) for row in images]  # d (W x)_k / dW
    jacobian = torch.cat(blocks)
    left = (images @ fitted.T - targets_nK).flatten() - jacobian @ fitted.flatten()
    u = [solution(jacobian[3 * first :], left[3 * first :], (12 - first) * decay) for first in (0, 4)]
    torch.testing.assert_close(u[0], fitted.flatten())
    torch.testing.assert_close(fitted.flatten() + u[1] - u[0], ridge(slice(4, 12)).flatten())
    wanted = targets(torch.eye(3, dtype=torch.float64), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(wanted, torch.eye(3, dtype=torch.float64) - 1 / 3)


def test_ntk_scrubbing_refuses_what_it_cannot_solve_and_says_what_would_do() -> None:
    with pytest.raises(ConfigError, match="lower per_class, freeze layers, or choose erase"):
        forgotten(MODELS["cnn-grey"].model(), "ntk", tiny_data(), 2, most_columns=50)


def test_shrink_distill_shrinks_matrices_alone_and_less_at_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usual mistake: biases and normalisations shrunk as well, or an attempt that goes on from the one before."""
    model = MODELS["cnn-grey"].build(1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    made: list[nn.Module] = []

    def three(attempt: Any, *_: Any, **__: Any) -> nn.Module:
        made.extend(attempt(power) for power in (1.0, 0.5, 0.25))
        return made[0]

    monkeypatch.setattr(shrink_distill, "search_rates", three)
    method = METHODS["shrink-distill"]().with_settings(["factor=0.25", "repair.lr=1e-12", "repair.epochs=1"])
    unlearn(model, method, tiny_data(1), ForgetRequest(classes=(0,)), seed=0, runtime=CPU)
    for left, shrunk in zip((0.25, 0.5, 0.25**0.25), made, strict=True):
        for name, parameter in shrunk.named_parameters():
            expected = before[name] * (left if parameter.dim() >= 2 else 1.0)
            torch.testing.assert_close(parameter, expected, atol=1e-6, rtol=1e-5)


def bare(layers: int = 5, norm: Any = None, normalised: int = 0) -> nn.Module:
    """A network that has learned the tiny images, the first `normalised` of its layers normalised by `norm`.

    Its first layer does not learn any more.
    """
    torch.manual_seed(0)
    hidden: list[nn.Module] = []
    for layer in range(layers):
        hidden += [nn.Linear(64, 64), *([norm(64)] if layer < normalised else []), nn.GELU()]
    model, data = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 4)), tiny_data()
    data.fix_shape(0)
    images = data.normalise(data.train.images(torch.arange(len(data.train)), CPU.device))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.002)
    for _ in range(80):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), data.train.labels).backward()
        optimiser.step()
    model[1].requires_grad_(False)
    return model.eval()


def kappa_of(first: Tensor, second: Tensor) -> float:
    """Cohen's kappa by its definition."""
    table = torch.zeros(4, 4, dtype=torch.float64)
    for mine, theirs in zip(first, second, strict=True):
        table[mine, theirs] += 1 / len(first)
    chance = float(table.sum(0) @ table.sum(1))
    return (float(table.trace()) - chance) / (1 - chance)


@pytest.mark.parametrize("agreement", [0.1, 0.25, 0.6, 0.9])
def test_shrink_distill_shrinks_no_further_than_the_answers_bear_where_nothing_is_normalised(agreement: float) -> None:
    """Usual mistakes: agreement that chance would give, frozen layers shrunk, one rung too few or too many."""
    model, request = bare(), ForgetRequest(classes=(0,))
    settings = ["search=none", "factor=0.1", "repair.lr=1e-12", f"agreement={agreement}"]
    method = METHODS["shrink-distill"]().with_settings(settings)
    found = unlearn(model, method, tiny_data(), request, seed=0, runtime=CPU)
    factor, data = found.notes["plan"]["factor"], tiny_data()
    rows = split_for(request, data)[Part.RETAIN_TRAIN]
    assert len(rows) <= shrinking.ASKED, "all images are asked, so their order does not matter"
    data.fix_shape(0)
    images = data.normalise(data.train.images(rows, CPU.device))

    @torch.no_grad()
    def kappa(left: float) -> float:
        shrunk = copy.deepcopy(model)
        for layer in (module for module in list(shrunk)[2:] if isinstance(module, nn.Linear)):
            layer.weight.mul_(left)
        return kappa_of(shrunk(images).argmax(1), model(images).argmax(1))

    assert kappa(factor) >= agreement > kappa(factor - 0.1)
    assert 0.3 <= factor <= 0.9
    assert found.notes["plan"]["repair"]["epochs"] == 6
    assert found.notes["plan"]["agreement"] == pytest.approx(kappa(factor), abs=1e-6)
    assert found.cost["stages"]["factor"]["samples_forward"] == len(rows) * (1 + round((factor - 0.1) / 0.1) + 1)
    expected = {"1.weight": 1.0, **{f"{i}.weight": factor for i in (3, 5, 7, 9, 11)}}
    for name, parameter in found.model.named_parameters():
        left = expected.get(name, 1.0)
        torch.testing.assert_close(parameter, model.get_parameter(name) * left, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("setting", ["agreement=0", "factor=0.9", "repair.epochs=1", None])
def test_shrink_distill_takes_the_factor_as_given_where_it_may(setting: str | None) -> None:
    """Batch normalisation makes up for it; the agreement is off; there is no rung left; one epoch stays one."""
    model = MODELS["cnn-grey"].build(1) if setting is None else bare()
    settings = ["search=none", "repair.lr=1e-12", *([setting] if setting else [])]
    found = unlearn(
        model,
        METHODS["shrink-distill"]().with_settings(settings),
        tiny_data(),
        ForgetRequest(classes=(0,)),
        seed=0,
        runtime=CPU,
    )
    plan = found.notes["plan"]
    if setting == "repair.epochs=1":
        assert plan["factor"] > 0.4
        assert plan["repair"]["epochs"] == 1
    else:
        assert plan["factor"] == (0.9 if setting == "factor=0.9" else 0.4)
        assert plan["repair"]["epochs"] == 3
    assert ("factor" in found.cost["stages"]) == (setting == "repair.epochs=1")
    assert (plan["agreement"] is None) == (setting != "repair.epochs=1")


def test_a_network_that_answers_all_images_alike_bears_any_factor() -> None:
    model = bare()
    with torch.no_grad():
        model[-1].bias[1] = 1e4
    method = METHODS["shrink-distill"]().with_settings(["search=none", "repair.lr=1e-12"])
    found = unlearn(model, method, tiny_data(), ForgetRequest(classes=(0,)), seed=0, runtime=CPU)
    assert found.notes["plan"]["factor"] == 0.4


def plan_of(model: nn.Module, *settings: str, **data: int) -> dict[str, Any]:
    """What `shrink-distill` planned for a model that has learned the tiny images; nothing is learned."""
    settings = settings or ("search=none",)
    method = METHODS["shrink-distill"]().with_settings(["repair.lr=1e-12", "factor=0.1", *settings])
    found = unlearn(model, method, tiny_data(**data), ForgetRequest(classes=(0,)), seed=0, runtime=CPU)
    return {**found.notes["plan"], "asked": found.cost["stages"].get("factor", {}).get("samples_forward", 0)}


@pytest.mark.parametrize(
    ("norm", "normalised", "frozen", "asks"),
    [
        (nn.BatchNorm1d, 2, False, True),  # of six weights that learn
        (nn.BatchNorm1d, 3, False, False),
        (nn.BatchNorm1d, 5, True, True),  # it keeps its statistics
        (partial(nn.GroupNorm, 4), 3, True, False),  # it has none
        (partial(nn.BatchNorm1d, track_running_stats=False), 3, True, False),
        (nn.LayerNorm, 5, False, True),
    ],
)
def test_half_of_the_weights_must_be_normalised_by_what_makes_up_for_shorter_ones(
    norm: Any, normalised: int, frozen: bool, asks: bool
) -> None:
    model = bare(6, norm=norm, normalised=normalised)
    if frozen:
        for module in model.modules():
            if isinstance(module, shrinking.NORMALISING):
                module.requires_grad_(False)
    plan = plan_of(model)
    assert (plan["asked"] > 0, plan["agreement"] is not None) == (asks, asks)
    assert asks or plan["factor"] == 0.1


def test_batchnorm_is_estimated_anew_before_a_shrunken_network_is_asked() -> None:
    """With the statistics of longer weights it would answer nearly at random, and the factor be raised in vain."""
    model = bare(norm=nn.BatchNorm1d, normalised=2)
    data = tiny_data()
    rows = split_for(ForgetRequest(classes=(0,)), data)[Part.RETAIN_TRAIN]
    data.fix_shape(0)
    images = data.normalise(data.train.images(rows, CPU.device))
    plan = plan_of(model)

    def answers(anew: bool) -> Tensor:
        shrunk = copy.deepcopy(model)
        for layer in (module for module in list(shrunk)[2:] if isinstance(module, nn.Linear)):
            layer.weight.data *= plan["factor"]
        for layer in shrunk.modules():
            if isinstance(layer, nn.BatchNorm1d) and anew:
                layer.momentum = None
                layer.reset_running_stats()
                layer.train()
        with torch.no_grad():
            shrunk(images)
            return shrunk.eval()(images).argmax(1)

    before = model(images).argmax(1)
    assert plan["agreement"] == pytest.approx(kappa_of(answers(anew=True), before), abs=1e-6)
    assert plan["agreement"] > kappa_of(answers(anew=False), before) + 0.1


def test_a_search_shrinks_less_than_what_the_answers_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = bare(), []

    def two(attempt: Any, *_: Any, **__: Any) -> nn.Module:
        made.extend(attempt(power) for power in (1.0, 0.5))
        return made[0]

    monkeypatch.setattr(shrink_distill, "search_rates", two)
    plan = plan_of(model, "search.attempts=2")
    assert plan["factor"] > 0.1
    for left, shrunk in zip((plan["factor"], plan["factor"] ** 0.5), made, strict=True):
        torch.testing.assert_close(shrunk[-1].weight, model[-1].weight * left, atol=1e-6, rtol=1e-5)


def test_images_of_all_retained_classes_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subset is in order of the classes: the first of it would be of one class, and kappa mean nothing."""
    seen: list[Tensor] = []

    def watched(model: nn.Module, samples: Any, ctx: Any, *, stage: str) -> Tensor:
        seen.append(samples.labels)
        return outputs_of(model, samples, ctx, stage=stage)

    monkeypatch.setattr(shrinking, "ASKED", 12)
    monkeypatch.setattr(shrinking, "outputs_of", watched)
    plan_of(bare(), per_class=60)
    assert len(seen) > 1
    assert all(torch.equal(labels, seen[0]) for labels in seen)
    assert (len(seen[0]), set(seen[0].tolist())) == (12, {1, 2, 3})


def test_shrink_distill_refuses_what_it_would_not_use() -> None:
    for setting in ("repair.distill=false", "repair.optimizer=sgd"):
        with pytest.raises(ConfigError, match=setting.partition("=")[0]):
            METHODS["shrink-distill"]().with_settings([setting])
