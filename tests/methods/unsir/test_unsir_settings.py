"""UNSIR's settings: what the presets hold, what reaches the training, and what follows where one is left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from canonical import MODELS, PER_CLASS, tiny_data
from unlearnkit.errors import ConfigError
from unlearnkit.methods import UNSIR, Unlearned
from unlearnkit.methods.common.rate_search import SearchSettings
from unlearnkit.methods.common.weight_scale import weight_scale
from unlearnkit.split import Part
from unlearnkit.training.losses import cross_entropy
from unsir_runs import Call, forget, key, plain


def test_presets_are_what_they_say() -> None:
    paper, notebook = UNSIR.paper(), UNSIR.notebook()
    assert set(UNSIR.presets()) == {"default", "paper", "notebook"}
    assert not paper.quirks
    assert notebook.quirks
    assert paper == notebook.model_copy(update={"quirks": False})
    assert paper.noise is not None
    # the notebook's published numbers
    assert (paper.retain_per_class, paper.rounds, paper.search, paper.augment) == (1000, 1, None, False)
    assert (paper.noise.batch_size, paper.noise.steps, paper.noise.lr) == (256, 40, 0.1)
    assert (paper.noise.penalty, paper.noise.repeats) == (0.1, 20)
    for step, lr in ((paper.impair, 0.02), (paper.repair, 0.01)):
        assert (step.lr, step.epochs, step.batch_size) == (lr, 1, 256)
        assert (step.optimizer, step.schedule) == ("adam", "constant")


def test_needs_follow_the_configuration() -> None:
    assert plain().needs == {Part.RETAIN_TRAIN}
    assert plain(search=SearchSettings()).needs == {Part.RETAIN_TRAIN, Part.RETAIN_VAL}
    for make in UNSIR.presets().values():
        assert not any(part.forgotten or part.side == "test" for part in make().needs)


def test_settings_reach_the_training(trained: list[Call]) -> None:
    method = plain(
        "impair.lr=0.003",
        "impair.epochs=2",
        "impair.batch_size=5",
        "impair.optimizer=sgd",
        "impair.schedule=cosine",
        "repair.lr=0.004",
        "repair.epochs=3",
        "repair.batch_size=7",
        "repair.optimizer=adamw",
        "rounds=2",
    )
    result = forget(method, 2)
    assert [call.stage for call in trained] == ["impair", "repair"] * 2
    for call in trained:
        r = call.recipe
        expected = (0.003, 2, 5, "sgd", "cosine") if call.stage == "impair" else (0.004, 3, 7, "adamw", "constant")
        assert (r.lr, r.epochs, r.batch_size, r.optimizer, r.schedule) == expected
        assert call.loss is cross_entropy
    assert len(result.history["impair"]) == 2 * 2 * 6  # rounds, epochs, batches of 18 + 12 in fives
    assert len(result.history["repair"]) == 2 * 3 * 2


@pytest.mark.parametrize("preset", ["paper", "notebook"])
def test_a_subset_larger_than_a_class_is_refused_before_any_work(preset: str, trained: list[Call]) -> None:
    method = UNSIR.presets()[preset]()
    assert method.retain_per_class > PER_CLASS  # the papers' 1,000 against twelve
    with pytest.raises(ConfigError, match=r"retain_per_class of at most 11.*'ant'.*1000"):
        forget(method, 2)
    assert not trained


def test_the_refusal_names_the_smallest_class() -> None:
    data = tiny_data()
    rows = torch.nonzero(data.train.labels == 3).flatten()
    data.train.labels[rows[4:]] = 2
    with pytest.raises(ConfigError, match=r"at most 3.*'dog'"):
        forget(plain("retain_per_class=4"), 2, data=data)


@pytest.mark.slow
def test_left_out_the_subset_is_a_fifth_of_each_class_and_a_hundred_at_least(trained: list[Call]) -> None:
    """And at most what the class has: none is left out, and none is read twice."""
    data = tiny_data(per_class=600)
    labels = data.train.labels
    labels[torch.nonzero(labels == 0).flatten()[:200]] = 1  # ant 400, bee 800
    labels[torch.nonzero(labels == 3).flatten()[:540]] = 2  # dog 60, and the others are cats, to be forgotten
    method = UNSIR().with_settings(["repair.epochs=1"]).model_copy(update={"noise": None, "search": None})
    result = forget(method, 2, data=data)
    whole = torch.bincount(labels[result.split[Part.RETAIN_TRAIN]], minlength=4).tolist()
    assert whole[0] < 500 < 700 < whole[1]
    assert 0 < whole[3] < 100
    wanted = [100, whole[1] // 5, 0, whole[3]]
    impair, repair = trained
    assert torch.bincount(impair.labels, minlength=4).tolist() == wanted
    assert sorted(map(key, repair.images)) == sorted(map(key, impair.images))
    counts: Any = result.access.summary(result.split)["parts"]["retain_train"]  # type: ignore[index]
    assert {name: c["read_by_method"] for name, c in counts.items()} == {
        name: wanted[k] for name, k in (("ant", 0), ("bee", 1), ("dog", 3))
    }


def test_rates_left_open_grow_with_the_weights(trained: list[Call]) -> None:
    model = MODELS["vit-grey"].model()
    for scale in (1, 3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
        forget(plain("impair.lr=none", "repair.lr=none"), 2, model=model)
    for small, large in zip(trained[:2], trained[2:], strict=True):
        assert large.recipe.lr == pytest.approx(3 * small.recipe.lr)
        assert small.recipe.lr < weight_scale(model, instead="")


def test_a_model_of_zero_weights_needs_rates_and_takes_given_ones() -> None:
    model = MODELS["cnn-grey"].model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0 if parameter.dim() >= 2 else 1)
    with pytest.raises(ConfigError, match=r"impair\.lr"):
        forget(plain("impair.lr=none", "repair.lr=none"), 2, model=model)
    assert isinstance(forget(plain("impair.lr=0.1", "repair.lr=0.1"), 2, model=model), Unlearned)


def test_sizes_left_open_are_within_the_data(trained: list[Call], learned: list[Tensor]) -> None:
    result = forget(plain("noise.repeats=none", "impair.batch_size=none", "repair.batch_size=none"), 2)
    assert len(trained[0].labels) == 12 + 6 * result.notes["noise"]["repeats"]
    assert all(call.recipe.batch_size >= 1 for call in trained)
