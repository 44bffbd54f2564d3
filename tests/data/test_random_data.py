"""Data that is random when it is read: the seed determines a run, whatever was read before and whoever seeded torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU, MODELS, tiny_data
from unlearnkit import ForgetRequest, unlearn
from unlearnkit.audit import METRICS, gather
from unlearnkit.data import ImageData, ImageSet
from unlearnkit.methods import FineTune
from unlearnkit.split import Part, split_for
from unlearnkit.training.recipe import Recipe
from unlearnkit.tuning import tune

REQUEST = ForgetRequest(classes=(2,))
METHOD = FineTune(search=None, recipe=Recipe(epochs=1, batch_size=8, lr=0.05))


def noisy() -> ImageData:
    """`tiny_data`, brightened at random whenever a row is read."""
    data = tiny_data(per_class=40)

    def shaken(plain: ImageSet) -> ImageSet:
        def decode(rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
            return plain._decode(rows, shape) // 2 + torch.randint(0, 100, (len(rows), 1, 1, 1)).to(torch.uint8)

        return ImageSet(plain.labels, plain.shape_of, decode, random=True)

    return replace(data, train=shaken(data.train), test=shaken(data.test))


def unlearned(data: ImageData, seed: int) -> list[Tensor]:
    result = unlearn(MODELS["cnn-grey"].model(), METHOD, data, REQUEST, seed=seed, runtime=CPU)
    return list(result.model.state_dict().values())


def tuned(data: ImageData, seed: int) -> list[Tensor]:
    trials = tune(
        MODELS["cnn-grey"].model(), METHOD, data, REQUEST, seed=seed, trials=2, look_at_forgotten=True, runtime=CPU
    ).trials
    return [torch.tensor([trial.score, trial.judged.left]) for trial in trials if trial.judged]


def observed(data: ImageData, seed: int) -> list[Tensor]:
    evidence = gather(
        {"original": MODELS["cnn-grey"].model()},
        data,
        split_for(REQUEST, data),
        metrics=[METRICS["accuracy"]],
        seed=seed,
        runtime=CPU,
    )
    return [outputs.logits for outputs in evidence.subjects[0].outputs.values()]


@pytest.mark.slow
@pytest.mark.parametrize("run", [unlearned, tuned, observed])
def test_the_seed_determines_a_run(run: Callable[[ImageData, int], list[Tensor]]) -> None:
    def same(one: list[Tensor], other: list[Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    data = noisy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = run(data, 5)
        torch.manual_seed(2)
        assert same(first, run(data, 5))  # the same data again, under another global seed
        assert same(first, run(noisy(), 5))
        assert not same(first, run(data, 6))


def test_every_model_is_seen_on_the_same_pixels() -> None:
    data = noisy()
    models: list[nn.Module] = [MODELS["cnn-grey"].model() for _ in range(2)]
    evidence = gather(
        {"original": models[0], "retrained": [models[1]]},
        data,
        split_for(REQUEST, data),
        metrics=[METRICS["accuracy"]],
        seed=0,
        runtime=CPU,
    )
    original, retrained = (subject.outputs[Part.RETAIN_TEST].logits for subject in evidence.subjects)
    assert torch.equal(original, retrained)


def test_reads_go_on_as_before_after_a_run() -> None:
    data = noisy()
    data.fix_shape(0)
    model, rows = MODELS["cnn-grey"].model(), torch.arange(4)

    def twice(between: Callable[[], object]) -> list[Tensor]:
        data.train.reads = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            first = data.train.images(rows, torch.device("cpu"))
            between()
            return [first, data.train.images(rows, torch.device("cpu"))]

    run = twice(lambda: unlearn(model, METHOD, data, REQUEST, seed=0, runtime=CPU))
    assert torch.equal(torch.stack(run), torch.stack(twice(lambda: None)))
