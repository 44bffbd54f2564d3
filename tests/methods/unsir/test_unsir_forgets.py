"""UNSIR on digits and on a folder's images: the classes are gone, the others stay, and nothing of the gone is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU
from unlearnkit.data import ImageData
from unlearnkit.data.samples import TensorSamples
from unlearnkit.data.sources.registry import load_data
from unlearnkit.methods import UNSIR, unlearn
from unlearnkit.models import SmallCNN
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe
from unsir_runs import digits_model


@torch.no_grad()
def accuracy(model: nn.Module, data: ImageData, *classes: int) -> float:
    data.fix_shape(0)
    rows = torch.nonzero(torch.isin(data.test.labels, torch.tensor(classes))).flatten()
    logits = model.eval()(data.normalise(data.test.images(rows, CPU.device)))
    return float((logits.argmax(dim=1) == data.test.labels[rows]).float().mean())


def forbid(data: ImageData, *classes: int) -> None:
    """Make decoding a row of these classes fail the test."""
    for image_set in (data.train, data.test):
        decode, labels = image_set._decode, image_set.labels

        def guarded(rows: Any, shape: Any, decode: Any = decode, labels: Tensor = labels) -> Tensor:
            touched = set(labels[torch.tensor(rows)].tolist()) & set(classes)
            assert not touched, f"rows of classes {touched} were decoded"
            return decode(rows, shape)

        image_set._decode = guarded


@pytest.mark.slow
def test_it_forgets_several_classes(narrow_run: Path) -> None:
    classes = (0, 1, 2, 4, 5, 6, 8)  # most of them, the first and neighbours among them
    model, data = digits_model(narrow_run)
    retained = [k for k in range(10) if k not in classes]
    assert accuracy(model, load_data("digits"), *classes) > 0.9
    forbid(data, *classes)
    result = unlearn(model, UNSIR(), data, ForgetRequest(classes=classes), seed=0, runtime=CPU)
    fresh = load_data("digits")
    assert accuracy(result.model, fresh, *classes) <= 0.1
    assert accuracy(result.model, fresh, *retained) >= 0.9
    assert accuracy(model, fresh, *classes) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("method", [UNSIR(), UNSIR(noise=None)], ids=["default", "no-noise"])
def test_it_forgets_a_class_and_one_forgotten_earlier_is_neither_read_nor_brought_back(
    narrow_run: Path, method: UNSIR
) -> None:
    model, first_data = digits_model(narrow_run)
    assert accuracy(model, load_data("digits"), 3) > 0.9
    forbid(first_data, 3)
    first = unlearn(model, method, first_data, ForgetRequest(classes=(3,)), seed=0, runtime=CPU)
    fresh, others = load_data("digits"), [0, 1, 2, 4, 5, 6, 8, 9]
    assert accuracy(first.model, fresh, 3) <= 0.1
    assert accuracy(first.model, fresh, *others, 7) >= 0.9
    assert accuracy(model, fresh, 3) > 0.9
    data = load_data("digits")
    forbid(data, 3, 7)
    request = ForgetRequest(classes=(7,), already_forgotten=(3,))
    second = unlearn(first.model, method, data, request, seed=1, runtime=CPU)
    assert accuracy(first.model, fresh, 7) > 0.5
    assert accuracy(second.model, fresh, 3) <= 0.1
    assert accuracy(second.model, fresh, 7) <= 0.1
    assert accuracy(second.model, fresh, *others) >= 0.9
    summary: Any = second.access.summary(second.split)
    assert summary["forget_samples_read"] == summary["forget_samples_decoded"] == 0
    assert list(summary["parts"]["excluded_train"]) == ["3"]
    assert len(second.split.excluded["train"]) > 100


@pytest.mark.slow
def test_requests_one_after_another_on_parquet_images(parquet_folder: Callable[..., Path]) -> None:
    source = f"parquet:{parquet_folder()}"
    data = load_data(source)
    data.fix_shape(0)
    images = TensorSamples(data.normalise(data.train.images(torch.arange(160), CPU.device)), data.train.labels)
    with isolated_randomness(0) as generator:
        model: nn.Module = SmallCNN(4, 3, width=8)
        recipe = Recipe(epochs=6, batch_size=32, optimizer="adam", lr=0.01)
        train(model, images, recipe, stage="train", generator=generator, runtime=CPU, log=RunLog(CPU))
    assert accuracy(model, data, 0, 1, 2, 3) == 1
    method = UNSIR().with_settings(["impair.batch_size=8", "repair.batch_size=8"])  # 36 images a class: small steps
    earlier: list[str] = []
    for name in ("red", "blue"):
        later = load_data(source)
        forbid(later, *(later.classes.index(c) for c in (*earlier, name)))
        request = ForgetRequest(classes=(name,), already_forgotten=tuple(earlier))
        model = unlearn(model, method, later, request, seed=0, runtime=CPU).model
        earlier.append(name)
    assert accuracy(model, data, 0) <= 0.1
    assert accuracy(model, data, 2) <= 0.1
    assert accuracy(model, data, 1, 3) >= 0.9
