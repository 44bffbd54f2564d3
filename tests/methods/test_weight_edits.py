"""Methods that edit weights directly, each held to its formula where the usual mistake would show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU, MODELS, tiny_data
from unlearnkit.data import ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.methods import METHODS, unlearn
from unlearnkit.methods.conv_transpose import transpose_kernels
from unlearnkit.methods.damp import residual_basis, separability
from unlearnkit.methods.msg import draw_again
from unlearnkit.methods.ntk import solution, targets
from unlearnkit.methods.svd_projection import project, soft_projection
from unlearnkit.methods.weight_damage import damage
from unlearnkit.request import ForgetRequest


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
