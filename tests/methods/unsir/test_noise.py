"""The noise step against a plain reference, and what it must leave alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonical import MODELS
from unlearnkit.errors import NonFiniteLossError
from unlearnkit.methods.unsir.noise import NoiseSettings, frozen, learn_noise, notebook_noise
from unlearnkit.models import SmallCNN
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime

SHAPE = (3, 8, 8)
SETTINGS = NoiseSettings(batch_size=6, steps=7, lr=0.1, penalty=0.05)
Learn = Callable[..., tuple[Tensor, Tensor]]


def cnn() -> nn.Module:
    """A float64 CNN with BatchNorm, large enough logits, and statistics that are not at their start."""
    model = MODELS["cnn-colour"].model().double()
    with torch.no_grad():
        model.head.weight.mul_(8)  # type: ignore[union-attr,operator]
    return model


def learn(
    model: nn.Module,
    class_ids: Sequence[int],
    settings: NoiseSettings = SETTINGS,
    *,
    batch: int = 500,
    generator: torch.Generator | None = None,
    log: RunLog | None = None,
    using: Learn = learn_noise,
) -> tuple[Tensor, Tensor]:
    runtime = Runtime(device=torch.device("cpu"), eval_batch_size=batch)
    return using(
        model,
        class_ids,
        SHAPE,
        settings,
        generator=generator or torch.Generator().manual_seed(3),
        runtime=runtime,
        log=log or RunLog(runtime),
    )


def starts(count: int) -> Tensor:
    """The start of `count` images, as drawn by a generator of seed 3."""
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(3)).double()


def reference(model: nn.Module, start: Tensor, class_id: int, settings: NoiseSettings) -> tuple[Tensor, list[float]]:
    """The paper's noise step: one class, the whole batch at once."""
    noise = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([noise], lr=settings.lr)
    target, losses = torch.full((len(noise),), class_id), []
    for _ in range(settings.steps):
        penalty = noise.pow(2).sum(dim=(1, 2, 3)).mean()
        loss = -F.cross_entropy(model(noise), target) + settings.penalty * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return noise.detach(), losses


@pytest.mark.parametrize("penalty", [0.0, 0.05, 1.0])
def test_noise_equals_the_reference(penalty: float) -> None:
    settings = SETTINGS.model_copy(update={"penalty": penalty})
    model = cnn()
    log = RunLog(Runtime(device=torch.device("cpu")))
    images, labels = learn(model, (2,), settings, log=log)
    wanted, losses = reference(model, starts(6), 2, settings)
    assert images.dtype == torch.float64
    assert labels.tolist() == [2] * 6
    torch.testing.assert_close(images, wanted, rtol=0, atol=1e-10)
    assert log.history["noise"] == pytest.approx(losses, abs=1e-10)


def test_several_classes_equal_the_reference_class_by_class() -> None:
    model = cnn()
    images, labels = learn(model, (0, 3))
    assert labels.tolist() == [0] * 6 + [3] * 6
    for i, class_id in enumerate((0, 3)):
        wanted, _ = reference(model, starts(12)[6 * i : 6 * i + 6], class_id, SETTINGS)
        torch.testing.assert_close(images[labels == class_id], wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch", [1, 4, 5, 17, 18, 19])
def test_noise_does_not_depend_on_how_it_is_batched(batch: int) -> None:
    model = cnn()
    log = RunLog(Runtime(device=torch.device("cpu")))
    images, labels = learn(model, (0, 1, 3), batch=batch, log=log)
    wanted, wanted_labels = learn(model, (0, 1, 3))
    torch.testing.assert_close(images, wanted, rtol=0, atol=1e-10)
    assert torch.equal(labels, wanted_labels)
    assert len(log.history["noise"]) == SETTINGS.steps * -(-18 // batch)


def test_noise_of_a_class_is_the_same_alone_and_with_others() -> None:
    model = cnn()
    together, labels = learn(model, (1, 2))
    first, _ = learn(model, (1,))
    torch.testing.assert_close(together[labels == 1], first, rtol=0, atol=1e-10)
    advanced = torch.Generator().manual_seed(3)
    torch.randn((6, *SHAPE), generator=advanced)
    second, _ = learn(model, (2,), generator=advanced)
    torch.testing.assert_close(together[labels == 2], second, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["cnn-colour", "vit-colour"])
def test_the_models_error_about_the_class_really_rises(kind: str) -> None:
    model = cnn() if kind.startswith("cnn") else MODELS[kind].model().double()
    settings = NoiseSettings(batch_size=8, steps=30, lr=0.1, penalty=0.0)
    images, labels = learn(model, (0, 3), settings)
    model.eval()
    before = F.cross_entropy(model(starts(16)), labels, reduction="none")
    after = F.cross_entropy(model(images), labels, reduction="none")
    assert (after > before).all()
    assert after.mean() > before.mean() + 1


def test_a_larger_penalty_keeps_the_noise_smaller() -> None:
    sizes = [
        learn(cnn(), (1,), NoiseSettings(batch_size=4, steps=15, lr=0.1, penalty=p))[0].square().mean()
        for p in (0.0, 0.01, 1.0)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[2] < 0.5


@pytest.mark.parametrize("kind", ["cnn-colour", "vit-colour"])
def test_the_model_is_left_exactly_as_it_was(kind: str) -> None:
    model = MODELS[kind].model().train()
    model.head.eval()  # type: ignore[union-attr]
    first = next(model.parameters()).requires_grad_(False)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = {k: m.training for k, m in model.named_modules()}
    learn(model, (0, 1))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert {k: m.training for k, m in model.named_modules()} == modes
    assert all(p.grad is None for p in model.parameters())
    assert all(p.requires_grad == (p is not first) for p in model.parameters())


def test_no_gradient_of_a_weight_is_ever_computed() -> None:
    model = cnn()
    for parameter in model.parameters():
        parameter.register_hook(lambda _grad: pytest.fail("a weight was differentiated"))
    learn(model, (0, 1))


class Fragile(nn.Module):
    """Fails, or gives NaN, from its third forward pass on."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.inner, self.calls, self.fault = SmallCNN(4, 3, width=4), 0, fault

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.calls >= 3 and self.fault == "error":
            raise RuntimeError("on purpose")
        return self.inner(images) * (float("nan") if self.calls >= 3 else 1.0)


@pytest.mark.parametrize(("fault", "error"), [("error", RuntimeError), ("nan", NonFiniteLossError)])
def test_modes_and_flags_are_put_back_after_a_failure(fault: str, error: type[Exception]) -> None:
    model = Fragile(fault).train()
    model.inner.head.eval()
    model.inner.head.bias.requires_grad_(False)
    with pytest.raises(error, match=r"on purpose|'noise' became nan at step 3"):
        learn(model, (0, 1))
    assert model.training
    assert model.inner.features.training
    assert not model.inner.head.training
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["inner.head.bias"]
    assert all(p.grad is None for p in model.parameters())


def test_frozen_nests_and_restores_mixed_modes() -> None:
    model = SmallCNN(4, 3, width=4).train()
    model.features[1].eval()
    model.head.weight.requires_grad_(False)
    with frozen(model), frozen(model):
        assert not any(m.training for m in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
    assert [n for n, m in model.named_modules() if not m.training] == ["features.1"]
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["head.weight"]


def test_passes_are_steps_by_images_by_classes_in_both_directions() -> None:
    runtime = Runtime(device=torch.device("cpu"))
    log, model = RunLog(runtime), cnn()
    log.meter.attach(model)
    learn(model, (0, 1, 3), log=log, batch=5)
    assert (log.meter.forward, log.meter.backward) == (7 * 6 * 3, 7 * 6 * 3)


def test_noise_keeps_the_dtype_of_the_weights_in_mixed_precision() -> None:
    runtime = Runtime(device=torch.device("cpu"), precision="bf16")
    model = MODELS["cnn-colour"].model()
    images, _ = learn_noise(
        model,
        (1,),
        SHAPE,
        SETTINGS,
        generator=torch.Generator().manual_seed(3),
        runtime=runtime,
        log=RunLog(runtime),
    )
    assert images.dtype == torch.float32
    assert not images.requires_grad
    assert images.isfinite().all()


# ---- the published notebook, bug for bug --------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_the_notebook_keeps_as_many_images_as_channels_and_labels_them_all_zero(channels: int) -> None:
    model = MODELS["cnn-grey" if channels == 1 else "cnn-colour"].model()
    runtime = Runtime(device=torch.device("cpu"))
    images, labels = notebook_noise(
        model,
        (2, 3),
        (channels, 8, 8),
        SETTINGS,
        generator=torch.Generator().manual_seed(3),
        runtime=runtime,
        log=RunLog(runtime),
    )
    assert images.shape == (2 * channels, channels, 8, 8)
    assert labels.tolist() == [0] * (2 * channels)


def test_the_notebook_learns_in_train_mode_and_lets_batch_statistics_drift() -> None:
    model, plain = cnn(), cnn()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images, _ = learn(model, (1, 2), using=notebook_noise)
    kept = [reference(plain.train(), starts(12)[6 * i : 6 * i + 6], c, SETTINGS)[0][:3] for i, c in enumerate((1, 2))]
    torch.testing.assert_close(images, torch.cat(kept), rtol=0, atol=1e-10)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {k for k in before if "running" in k or "num_batches" in k}
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=1e-10)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_notebook_differs_from_the_noise_of_the_paper() -> None:
    mine, _ = learn(cnn(), (1,))
    theirs, _ = learn(cnn(), (1,), using=notebook_noise)
    assert not torch.allclose(mine[:3], theirs, atol=1e-3)


@pytest.mark.parametrize(("classes", "images"), [(1, 256), (2, 256), (3, 170), (20, 25), (100, 16)])
def test_the_default_noise_hardly_grows_with_the_classes(classes: int, images: int) -> None:
    assert NoiseSettings().per_class(classes) == images
    assert NoiseSettings(batch_size=256).per_class(classes, 10) == 256
    assert NoiseSettings().per_class(classes, 150) == max(16, 150 // classes)


def test_the_default_size_is_learned_for_several_classes() -> None:
    images, labels = learn(cnn(), (0, 1, 2), NoiseSettings(steps=1))
    assert len(images) == 3 * 170
    assert torch.bincount(labels).tolist() == [170, 170, 170]
