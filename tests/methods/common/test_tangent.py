"""Products of a network's Jacobian, systems solved by them, and mixed-linear forgetting against ridge regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn

import unlearnkit.methods.mixed_linear as mixed_module
from canonical import CPU, MODELS
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.methods import METHODS, unlearn
from unlearnkit.methods.common.importance import trainable
from unlearnkit.methods.common.tangent import Tangent, conjugate_gradients
from unlearnkit.methods.method import Context
from unlearnkit.methods.ntk import jacobian
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part

CLASS = ForgetRequest(classes=(2,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn-grey", "vit-grey"])
def test_products_are_those_of_the_whole_jacobian(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Usual mistake: products in training mode, where BatchNorm's outputs depend on the batch."""
    seen: dict[str, Tensor] = {}

    def run(_self: Any, model: nn.Module, ctx: Context) -> nn.Module:
        samples = ctx.view.part(Part.RETAIN_TRAIN)
        weights = trainable(model)
        images = samples.images(torch.arange(len(samples)))
        seen["whole"] = jacobian(model, weights, ctx.runtime.inputs(images))[0]
        tangent = Tangent(model, weights, samples, ctx)
        u_nK, v_P = torch.randn(len(samples), 4).double(), torch.randn(seen["whole"].shape[1]).double()
        seen.update({"u": u_nK, "v": v_P, "transposed": tangent.transposed(u_nK), "normal": tangent.normal(v_P)})
        return model

    monkeypatch.setattr(mixed_module.MixedLinear, "run", run)
    monkeypatch.setattr("unlearnkit.methods.common.tangent.BATCH", 20)
    setting = MODELS[name]
    unlearn(setting.model().train(), METHODS["mixed-linear"](), setting.data(), CLASS, seed=0, runtime=CPU)
    whole = seen["whole"]
    torch.testing.assert_close(seen["transposed"], whole.T @ seen["u"].flatten(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(seen["normal"], whole.T @ (whole @ seen["v"]), rtol=1e-3, atol=1e-2)
    assert torch.backends.mha.get_fastpath_enabled()


def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_unknowns() -> None:
    root = torch.randn((6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix, right = root @ root.T + torch.eye(6, dtype=torch.float64), torch.arange(6.0).double()
    log = RunLog(CPU)
    found, left = conjugate_gradients(lambda v: matrix @ v, right, 50, log, stage="solve")
    torch.testing.assert_close(found, torch.linalg.solve(matrix, right), rtol=1e-4, atol=1e-5)
    assert left <= 1e-6
    assert len(log.history["solve"]) <= 7
    assert conjugate_gradients(lambda v: matrix @ v, 0 * right, 5, log, stage="zero")[0].abs().sum() == 0


class Linear(nn.Module):
    """A linear classifier of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 4, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


def test_a_linear_model_becomes_ridge_regression_on_the_retained_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usual mistake: the decay is on the step alone, so that weights that no retained row holds stay for ever."""
    monkeypatch.setattr(mixed_module, "targets", lambda _logits, labels: nn.functional.one_hot(labels, 4).double())
    setting = MODELS["cnn-grey"]
    data, model = setting.data(), Linear()
    method = METHODS["mixed-linear"]().with_settings(["iterations=200", "weight_decay=0.1"])
    result = unlearn(model, method, data, CLASS, seed=0, runtime=CPU)
    rows = result.split[Part.RETAIN_TRAIN]
    images = data.normalise(data.train.images(rows, torch.device("cpu"))).flatten(1).double().numpy()
    targets = np.eye(4)[data.train.labels[rows].numpy()]
    ridge = Ridge(alpha=result.notes["mixed_linear"]["weight_decay"], fit_intercept=False).fit(images, targets)
    found = result.model.get_parameter("head.weight").detach().double().numpy()
    assert found == pytest.approx(ridge.coef_, abs=1e-4)
    monkeypatch.setattr(mixed_module, "MOST_BYTES", 8 * mixed_module.VECTORS * 255)
    with pytest.raises(ConfigError, match=r"Expected at most 255 trainable weights, but the model has 256; .*erase"):
        unlearn(model, method, data, CLASS, seed=0, runtime=CPU)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(torch.OutOfMemoryError("no room"), torch.OutOfMemoryError), (RuntimeError("no forward rule"), ModelError)],
)
def test_what_fails_is_the_model_unless_memory_ran_out(
    raised: RuntimeError, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise raised

    monkeypatch.setattr("unlearnkit.methods.common.tangent.jvp", fails)
    setting = MODELS["cnn-grey"]
    with pytest.raises(expected):
        unlearn(setting.model(), METHODS["mixed-linear"](), setting.data(), CLASS, seed=0, runtime=CPU)
