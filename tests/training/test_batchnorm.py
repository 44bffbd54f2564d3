"""BatchNorm's statistics: estimated anew, kept as they are, and a batch of one refused."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonical import CPU, MODELS
from training_runs import double_cnn, images_and_labels
from unlearnkit.data.samples import TensorSamples
from unlearnkit.errors import ConfigError
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.training.batchnorm import recalibrate_batchnorm
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe


@pytest.mark.slow
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


@pytest.mark.slow
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
