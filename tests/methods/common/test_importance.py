"""Importance of weights: against loops of plain autograd, closed forms, and what must stay as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import unlearnkit.methods.common.importance as importance_module
from canonical import CLASSES, CPU, MODELS
from unlearnkit.data.samples import TensorSamples
from unlearnkit.errors import ModelError
from unlearnkit.methods.common.importance import FisherSettings, Weights, fisher_diagonal, mean_gradient
from unlearnkit.runtime.processes import Processes
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime

N = 11


def samples(channels: int = 1, n: int = N) -> TensorSamples:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(n, channels, 8, 8, generator=generator)
    return TensorSamples(images, torch.randint(len(CLASSES), (n,), generator=generator))


def fisher(model: nn.Module, data: TensorSamples, runtime: Runtime = CPU, **settings: Any) -> Weights:
    criterion, log = settings.pop("criterion", None), settings.pop("log", None) or RunLog(runtime)
    return fisher_diagonal(
        model,
        data,
        FisherSettings(**settings),
        stage="fisher",
        generator=torch.Generator().manual_seed(0),
        runtime=runtime,
        log=log,
        criterion=criterion,
    )


def oracle(model: nn.Module, data: TensorSamples) -> tuple[Weights, Weights]:
    """(mean of the squared gradients, square of the mean gradient), by one backward pass for each sample."""
    model = model.eval()
    images = data.images(torch.arange(len(data)))
    squares: Weights = {}
    means: Weights = {}
    for i in range(len(data)):
        model.zero_grad(set_to_none=True)
        output = model(images[i : i + 1])
        F.cross_entropy(getattr(output, "logits", output), data.labels[i : i + 1]).backward()
        for name, p in model.named_parameters():
            if p.requires_grad:
                g = torch.zeros_like(p) if p.grad is None else p.grad
                squares[name] = squares.get(name, 0) + g**2 / len(data)
                means[name] = means.get(name, 0) + g / len(data)
    model.zero_grad(set_to_none=True)
    return squares, {name: g**2 for name, g in means.items()}


def assert_close(found: Weights, wanted: Weights) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


class Tied(nn.Module):
    """Two layers that share one weight; returns an object with logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4)
        self.second.weight = self.first.weight

    def forward(self, images: Tensor) -> Any:
        return SimpleNamespace(logits=self.head(self.second(self.first(images.flatten(1)).tanh()).tanh()))


class Looks(nn.Module):
    """A model that looks at its values, which torch.func refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return self.head(flat if flat.sum().item() > 0 else 2 * flat)


def model_for(kind: str) -> nn.Module:
    torch.manual_seed(1)
    if kind in MODELS:
        return MODELS[kind].model()
    model: nn.Module = {"tied": Tied, "looks": Looks, "frozen": Tied}[kind]()
    if kind == "frozen":
        model.first.bias.requires_grad_(False)  # type: ignore[union-attr]
    return model.eval()


@pytest.mark.parametrize("per_sample", ["vmap", "loop"])
@pytest.mark.parametrize("kind", ["cnn-grey", "vit-grey", "tied", "frozen"])
def test_the_fisher_diagonal_is_the_mean_of_squared_gradients_and_not_the_square_of_their_mean(
    kind: str, per_sample: str
) -> None:
    model, data = model_for(kind), samples()
    wanted, mistake = oracle(model, data)
    assert_close(fisher(model, data, per_sample=per_sample, chunk=4), wanted)
    share = sum(float(m.sum()) for m in mistake.values()) / sum(float(w.sum()) for w in wanted.values())
    assert share < 0.6  # this test would see the usual mistake


@pytest.mark.parametrize("kind", ["cnn-grey", "vit-grey"])
def test_a_run_in_bf16_still_squares_gradients_in_the_precision_of_the_weights(kind: str) -> None:
    model, data = model_for(kind), samples()
    assert_close(fisher(model, data, replace(CPU, precision="bf16")), fisher(model, data))


def test_the_chunk_does_not_matter() -> None:
    model, data = model_for("cnn-grey"), samples()
    whole = fisher(model, data)
    for chunk in (1, 3, N, 100):
        assert_close(fisher(model, data, chunk=chunk), whole)


@pytest.mark.parametrize("per_sample", ["vmap", "loop"])
def test_labels_of_the_model_give_the_closed_form_of_a_linear_softmax(per_sample: str) -> None:
    """F of weight (k, j) is the mean of p_k (1 - p_k) x_j^2, whatever the labels are."""
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), samples()
    x = data.images(torch.arange(N)).flatten(1)
    p = model(x).softmax(dim=1).detach()
    wanted = torch.einsum("nk,nj->kj", p * (1 - p), x**2) / N
    found = fisher(model, data, labels="model", per_sample=per_sample, chunk=4)
    torch.testing.assert_close(found["1.weight"], wanted, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(found["1.bias"], (p * (1 - p)).mean(dim=0), rtol=1e-4, atol=1e-8)


def test_a_model_that_torch_func_refuses_is_named_and_goes_through_the_loop() -> None:
    model, data = model_for("looks"), samples()
    with pytest.raises(ModelError, match="per_sample=loop"):
        fisher(model, data)
    assert_close(fisher(model, data, per_sample="loop"), oracle(model, data)[0])


def test_large_models_go_through_the_loop_on_a_cpu_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = model_for("looks"), samples()
    count = sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(importance_module, "LOOP_WEIGHTS", count)
    assert_close(fisher(model, data), oracle(model, data)[0])  # through torch.func it would be refused
    elsewhere = {name: w.to("meta") for name, w in importance_module.trainable(model).items()}
    assert importance_module._at_once(FisherSettings(), elsewhere)
    assert importance_module._at_once(FisherSettings(per_sample="vmap"), importance_module.trainable(model))
    monkeypatch.setattr(importance_module, "LOOP_WEIGHTS", count + 1)
    with pytest.raises(ModelError, match="per_sample=loop"):
        fisher(model, data)


def test_the_users_criterion_takes_the_place_of_cross_entropy() -> None:
    model, data = model_for("tied"), samples()
    plain = fisher(model, data)
    tripled = fisher(model, data, criterion=lambda logits, labels: 3 * F.cross_entropy(logits, labels))
    assert_close(tripled, {name: 9 * value for name, value in plain.items()})


def test_where_memory_runs_out_the_chunk_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = model_for("cnn-grey"), samples()
    whole, sizes = fisher(model, data), []
    build = importance_module._vectorised

    def small_memory(*args: Any) -> Any:
        squares = build(*args)

        def limited(images: Tensor, labels: Tensor, shares: Tensor) -> Weights:
            sizes.append(len(images))
            if len(images) > 3:
                raise torch.OutOfMemoryError("no memory")
            return squares(images, labels, shares)

        return limited

    monkeypatch.setattr(importance_module, "_vectorised", small_memory)
    assert_close(fisher(model, data), whole)
    assert sizes[0] == N
    assert sum(s for s in sizes if s <= 3) == N


def test_memory_that_does_not_hold_one_sample_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(importance_module, "_vectorised", lambda *_: none)
    with pytest.raises(torch.OutOfMemoryError):
        fisher(model_for("cnn-grey"), samples())


def test_a_draw_of_samples_is_the_fisher_diagonal_of_those_samples() -> None:
    model, data = model_for("tied"), samples()
    chosen = torch.randperm(N, generator=torch.Generator().manual_seed(0))[:4]
    few = TensorSamples(data.images(chosen), data.labels[chosen])
    assert_close(fisher(model, data, samples=4), fisher(model, few))


def test_the_model_is_left_as_it_was_and_the_passes_are_counted() -> None:
    log = RunLog(CPU)
    model = log.meter.attach(MODELS["cnn-grey"].model().train())
    before, hooks = {k: v.clone() for k, v in model.state_dict().items()}, len(model._forward_hooks)
    fisher(model, samples(), log=log, chunk=4)
    assert (log.meter.forward, log.meter.backward) == (N, N)
    fisher(model, samples(), log=log, labels="model")
    assert (log.meter.forward, log.meter.backward) == (N + 5 * N, N + 4 * N)
    mean_gradient(model, samples(), stage="saliency", runtime=CPU, log=log)
    assert (log.meter.forward, log.meter.backward) == (7 * N, 6 * N)
    assert model.training
    assert len(model._forward_hooks) == hooks == 1
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("kind", ["cnn-grey", "vit-grey", "frozen"])
def test_the_mean_gradient_is_that_of_one_batch_of_all(kind: str) -> None:
    model, data = model_for(kind), samples()
    output = model(data.images(torch.arange(N)))
    loss = F.cross_entropy(getattr(output, "logits", output), data.labels)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    wanted = torch.autograd.grad(loss, [model.get_parameter(name) for name in names])
    log = RunLog(CPU)
    found = mean_gradient(model, data, stage="saliency", runtime=replace(CPU, eval_batch_size=4), log=log)
    assert list(found) == names
    for name, value in zip(names, wanted, strict=True):
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7)
    assert log.history["saliency"] == pytest.approx([loss.item()] * 3, abs=1.0)


@dataclass(frozen=True, kw_only=True)
class Apart(Processes):
    """One of two processes that does not hear of the other."""

    def sum(self, tensors: Any) -> None: ...


def test_two_processes_have_the_whole_between_them() -> None:
    model, data = model_for("tied"), samples()
    alone = [replace(CPU, processes=Apart(rank=rank, count=2)) for rank in (0, 1)]
    halves = [fisher(model, data, runtime) for runtime in alone]
    assert_close({name: halves[0][name] + halves[1][name] for name in halves[0]}, fisher(model, data))
    slopes = [mean_gradient(model, data, stage="s", runtime=runtime, log=RunLog(runtime)) for runtime in alone]
    whole = mean_gradient(model, data, stage="s", runtime=CPU, log=RunLog(CPU))
    for name, value in whole.items():
        torch.testing.assert_close(slopes[0][name] + slopes[1][name], value, rtol=1e-4, atol=1e-7)
