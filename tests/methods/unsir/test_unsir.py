"""UNSIR: what each step sees, how it heals, when it lowers its rates, and requests one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import unlearnkit.methods.common.rate_search as search_module
import unlearnkit.methods.unsir.unsir as unsir_module
from canonical import CPU, MODELS, PER_CLASS, tiny_data
from unlearnkit.data import ImageData
from unlearnkit.data.samples import TensorSamples
from unlearnkit.data.sources.registry import load_data
from unlearnkit.data.view import Samples
from unlearnkit.errors import ConfigError, NonFiniteLossError
from unlearnkit.methods import UNSIR, Unlearned, unlearn
from unlearnkit.methods.common.rate_search import SearchSettings
from unlearnkit.methods.unsir.settings import weight_scale
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import KEPT, RunLog
from unlearnkit.split import Part
from unlearnkit.training.loop import train
from unlearnkit.training.losses import cross_entropy, distillation
from unlearnkit.training.recipe import Recipe


def plain(*settings: str, **changes: Any) -> UNSIR:
    """UNSIR as in the paper, without search and augmentation, with tiny settings."""
    tiny = ["retain_per_class=4", "noise.batch_size=6", "noise.steps=2", "noise.repeats=3"]
    sizes = ["impair.batch_size=8", "repair.batch_size=8"]
    return UNSIR.paper().with_settings([*tiny, *sizes, *settings]).model_copy(update=changes)


class Call:
    """What one training was given."""

    def __init__(self, samples: Samples, recipe: Recipe, stage: str, loss: Any) -> None:
        self.labels = samples.labels
        self.images = samples.images(torch.arange(len(samples)))
        self.recipe, self.stage, self.loss = recipe, stage, loss


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Records every training that UNSIR asks for."""
    calls: list[Call] = []

    def spy(model: nn.Module, samples: Samples, recipe: Recipe, **options: Any) -> None:
        calls.append(Call(samples, recipe, options["stage"], options.get("loss", cross_entropy)))
        train(model, samples, recipe, **options)

    monkeypatch.setattr(unsir_module, "train", spy)
    return calls


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Records the noise that was learned."""
    noises: list[Tensor] = []
    for name in ("learn_noise", "notebook_noise"):
        learn = getattr(unsir_module, name)

        def spy(*args: Any, learn: Any = learn, **options: Any) -> tuple[Tensor, Tensor]:
            images, labels = learn(*args, **options)
            noises.append(images)
            return images, labels

        monkeypatch.setattr(unsir_module, name, spy)
    return noises


def forget(
    method: UNSIR, *classes: int, channels: int = 1, data: ImageData | None = None, seed: int = 0, **options: Any
) -> Unlearned:
    model = options.pop("model", None) or MODELS["cnn-grey" if channels == 1 else "cnn-colour"].model()
    request = ForgetRequest(classes=classes, already_forgotten=options.pop("already_forgotten", ()))
    given = data if data is not None else tiny_data(channels)
    return unlearn(model, method, given, request, seed=seed, runtime=CPU, **options)


def key(image: Tensor) -> tuple[float, ...]:
    return tuple(image.flatten().tolist())


def retained_images(data: ImageData, result: Unlearned) -> dict[tuple[float, ...], tuple[int, int]]:
    """Every retained training image -> its row and its label."""
    rows = result.split[Part.RETAIN_TRAIN]
    images = data.normalise(data.train.images(rows, CPU.device))
    return {key(image): (int(row), int(data.train.labels[row])) for image, row in zip(images, rows, strict=True)}


# ---- what each step sees -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [(2,), (1, 3)], ids=["one", "several"])
def test_impair_sees_the_repeated_noise_and_the_subset_and_repair_only_the_subset(
    classes: tuple[int, ...], trained: list[Call], learned: list[Tensor]
) -> None:
    data = tiny_data()
    result = forget(plain(), *classes, data=data)
    impair, repair = trained
    assert [impair.stage, repair.stage] == ["impair", "repair"]
    known, noise = retained_images(data, result), {key(n) for n in learned[0]}
    assert len(noise) == 6 * len(classes)

    seen = [(key(image), int(label)) for image, label in zip(impair.images, impair.labels, strict=True)]
    from_noise = [(image, label) for image, label in seen if image in noise]
    from_data = [(image, label) for image, label in seen if image in known]
    assert len(from_noise) == 3 * 6 * len(classes)
    assert len(from_noise) + len(from_data) == len(seen)
    assert all(sum(image == n for image, _ in from_noise) == 3 for n in noise)
    for c in classes:
        assert sum(label == c for _, label in from_noise) == 18
    assert all(label == known[image][1] for image, label in from_data)
    assert all(label not in classes for _, label in from_data)

    retained = 4 - len(classes)
    assert sorted(label for _, label in from_data) == sorted([k for k in range(4) if k not in classes] * 4)
    assert sorted(key(image) for image in repair.images) == sorted(image for image, _ in from_data)
    assert len({key(image) for image in repair.images}) == len(repair.images) == 4 * retained
    assert [known[key(i)][1] for i in repair.images] == repair.labels.tolist()


def test_noise_is_labelled_with_its_own_class(trained: list[Call], learned: list[Tensor]) -> None:
    forget(plain(), 1, 3)
    own = {key(image): (1 if i < 6 else 3) for i, image in enumerate(learned[0])}
    labels = {key(i): int(k) for i, k in zip(trained[0].images, trained[0].labels, strict=True) if key(i) in own}
    assert labels == own


def test_a_few_images_of_the_noise_can_be_looked_at(learned: list[Tensor]) -> None:
    result = forget(plain(), 1, 3)
    assert list(result.images) == ["noise"]
    assert list(result.images["noise"]) == [1, 3]
    for k, first in ((1, 0), (3, 6)):
        assert torch.equal(result.images["noise"][k], learned[0][first : first + KEPT])
        assert result.images["noise"][k].dtype == torch.float32
    assert forget(plain(noise=None), 2).images == {}


def test_without_noise_both_steps_see_the_subset_alone(trained: list[Call], learned: list[Tensor]) -> None:
    result = forget(plain(noise=None), 2)
    assert not learned
    assert "noise" not in result.cost["stages"]
    assert [len(call.labels) for call in trained] == [12, 12]
    assert not any((call.labels == 2).any() for call in trained)


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


@pytest.mark.parametrize(("augment", "source", "expected"), [(True, "crop_flip", True), (True, "none", False)])
def test_retained_images_are_augmented_as_the_source_does_and_noise_never(
    augment: bool, source: str, expected: bool, trained: list[Call], learned: list[Tensor]
) -> None:
    data = tiny_data(augment=source)
    result = forget(plain(augment=augment), 2, data=data)
    known, noise = retained_images(data, result), {key(n) for n in learned[0]}
    impair, repair = trained
    assert sum(key(i) in noise for i in impair.images) == 18
    unchanged = sum(key(i) in known for i in repair.images)
    assert (unchanged < 3) == expected
    assert expected or unchanged == 12


def test_augmentation_can_be_switched_off(trained: list[Call]) -> None:
    data = tiny_data(augment="crop_flip")
    result = forget(plain(augment=False), 2, data=data)
    known = retained_images(data, result)
    assert all(key(i) in known for i in trained[1].images)


@pytest.mark.parametrize("count", [1, 5, 11])
def test_the_subset_has_so_many_of_every_retained_class(count: int, trained: list[Call]) -> None:
    forget(plain(f"retain_per_class={count}"), 0, 2)
    assert torch.bincount(trained[1].labels, minlength=4).tolist() == [0, count, 0, count]


def test_the_subset_is_drawn_by_the_seed(trained: list[Call]) -> None:
    for seed in (0, 0, 1):
        forget(plain(), 2, seed=seed)
    first, second, other = ({key(i) for i in trained[n].images} for n in (1, 3, 5))
    assert first == second != other


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


def test_left_out_the_subset_size_follows_each_class() -> None:
    """At most what the class has, and no class is left out."""
    result = forget(plain("retain_per_class=none"), 2)
    counts: Any = result.access.summary(result.split)["parts"]["retain_train"]  # type: ignore[index]
    assert all(0 < c["read_by_method"] <= c["samples"] for c in counts.values())
    assert set(counts) == {"ant", "bee", "dog"}


def test_the_notebook_takes_the_first_samples_of_each_class_and_labels_noise_zero(
    trained: list[Call], learned: list[Tensor]
) -> None:
    data = tiny_data(3)
    result = forget(plain(quirks=True), 2, 3, channels=3, data=data)
    known = retained_images(data, result)
    rows = [known[key(i)][0] for i in trained[1].images]
    allowed = result.split[Part.RETAIN_TRAIN]
    wanted = [allowed[data.train.labels[allowed] == k][:4].tolist() for k in (0, 1)]
    assert sorted(rows) == sorted(chain.from_iterable(wanted))
    assert len(learned[0]) == 3 * 2  # channels times classes
    noise = {key(n) for n in learned[0]}
    labels = [int(k) for i, k in zip(trained[0].images, trained[0].labels, strict=True) if key(i) in noise]
    assert labels == [0] * (3 * 6)


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


# ---- distillation ------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """Gives the same logits for every image, from a parameter."""

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(rows))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)] + 0 * images.sum()


def distilled(teacher: Tensor, student: Tensor, gone: Sequence[int]) -> float:
    """The closed form, sample by sample in numpy."""
    total = 0.0
    for t, s in zip(teacher.double().numpy(), student.double().numpy(), strict=True):
        kept = [k for k in range(len(t)) if k not in gone]
        p = np.exp(t[kept]) / np.exp(t[kept]).sum()
        q = np.exp(s) / np.exp(s).sum()  # over all outputs, the forgotten ones too
        total -= float((p * np.log(q[kept])).sum())
    return total / len(teacher)


@pytest.mark.parametrize("gone", [(1,), (0, 3), (0, 1, 2)])
def test_distillation_equals_the_closed_form(gone: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = (Fixed((3 * torch.randn(5, 4, generator=generator)).tolist()) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 3, 0])  # they play no part
    loss = distillation(teacher, gone)
    wanted = distilled(teacher.logits.detach(), student.logits.detach(), gone)
    for given in (labels, labels.flip(0)):
        assert loss(student, torch.zeros(5, 1, 2, 2), given).item() == pytest.approx(wanted, rel=1e-5)


def test_distillation_by_hand() -> None:
    loss = distillation(Fixed([[0.0, 5.0, float(np.log(3))]]), (1,))
    # target 1/4, -, 3/4; the student is uniform over three
    value = loss(Fixed([[2.0, 2.0, 2.0]]), torch.zeros(1, 1, 1, 1), torch.tensor([0]))
    assert value.item() == pytest.approx(np.log(3))


def test_distillation_pushes_the_forgotten_output_down_and_teaches_only_the_student() -> None:
    teacher, student = Fixed([[1.0, 9.0, 2.0]]), Fixed([[1.0, 9.0, 2.0]])
    before = teacher.logits.detach().clone()
    distillation(teacher, (1,))(student, torch.zeros(1, 1, 1, 1), torch.tensor([0])).backward()
    q = torch.tensor([1.0, 9.0, 2.0]).softmax(0)
    p = torch.tensor([1.0, float("-inf"), 2.0]).softmax(0)
    torch.testing.assert_close(student.logits.grad, (q - p)[None])
    assert teacher.logits.grad is None
    assert torch.equal(teacher.logits, before)


def test_distilling_repair_targets_the_original_and_leaves_out_all_that_is_gone(
    trained: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[nn.Module, tuple[int, ...]]] = []

    def spy(original: nn.Module, gone: tuple[int, ...]) -> Any:
        given.append((original, gone))
        return distillation(original, gone)

    monkeypatch.setattr(unsir_module, "distillation", spy)
    model = MODELS["cnn-grey"].model()
    forget(plain("repair.distill=true"), 2, model=model, already_forgotten=(0,))
    ((teacher, gone),) = given
    assert sorted(gone) == [0, 2]
    for name, value in model.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[name]), name
    assert not teacher.training
    assert trained[0].loss is cross_entropy
    assert trained[1].loss is not cross_entropy


# ---- search ------------------------------------------------------------------------------------------------------


VALIDATION = 300  # images in `searched_data`, a hundred of each retained class


def searched_data() -> ImageData:
    return tiny_data(per_class=2000)


def scripted(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> list[dict[str, Tensor]]:
    """Let the search see these validation accuracies, the original's first; returns the weights it judged."""
    judged: list[dict[str, Tensor]] = []

    def predictions(model: nn.Module, samples: Samples, runtime: Any) -> Tensor:
        judged.append({k: v.clone() for k, v in model.state_dict().items()})
        assert torch.bincount(samples.labels, minlength=4).tolist() == [100, 100, 0, 100]  # retain_val
        right = round(accuracies[len(judged) - 1] * VALIDATION)
        shown = samples.labels.clone()
        shown[right:] = torch.where(shown[right:] == 0, 1, 0)
        return torch.nn.functional.one_hot(shown, 4).float()

    monkeypatch.setattr(search_module, "predict", predictions)
    return judged


def searching(*settings: str, **search: Any) -> UNSIR:
    options = {"attempts": 3, "factor": 0.1, "tolerance": 0.05} | search
    return plain("impair.lr=0.02", "repair.lr=0.01", *settings, search=SearchSettings(**options))


def is_weights(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_the_search_lowers_both_rates_until_accuracy_holds(
    monkeypatch: pytest.MonkeyPatch, trained: list[Call], learned: list[Tensor]
) -> None:
    judged = scripted(monkeypatch, 1.0, 0.3, 0.96)
    result = forget(searching(), 2, data=searched_data())
    assert [(c.stage, c.recipe.lr) for c in trained] == [
        ("impair", pytest.approx(0.02)),
        ("repair", pytest.approx(0.01)),
        ("impair", pytest.approx(0.002)),
        ("repair", pytest.approx(0.001)),
    ]
    assert len(learned) == 1  # the noise is learned once
    notes = result.notes["search"]
    assert [a["accuracy"] for a in notes["attempts"]] == pytest.approx([0.3, 0.96])
    assert [a["factor"] for a in notes["attempts"]] == pytest.approx([1, 0.1])
    assert notes["accepted"]
    assert notes["validation_accuracy_before"] == 1.0
    assert is_weights(result.model, judged[2])


def test_every_attempt_starts_from_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["cnn-grey"].model()
    judged = scripted(monkeypatch, 1.0, 0.1, 0.2, 0.3)
    # with so small a rate, only what came before the attempt can move the weights
    forget(searching(factor=1e-9, attempts=3), 2, model=model, data=searched_data())
    assert all(torch.equal(v, judged[0][k]) for k, v in model.state_dict().items())
    for last in judged[2:]:
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(last[name], parameter.detach(), rtol=0, atol=1e-6)
    assert not torch.allclose(judged[1]["head.weight"], judged[0]["head.weight"], atol=1e-3)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_best_attempt_is_kept_where_none_holds(monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    after = [0.1, 0.2, 0.3]
    after[best] = 0.5
    judged = scripted(monkeypatch, 1.0, *after)
    result = forget(searching(), 2, data=searched_data())
    assert is_weights(result.model, judged[1 + best])
    assert not result.notes["search"]["accepted"]
    assert len(result.notes["search"]["attempts"]) == 3


def test_the_first_attempt_is_enough_where_accuracy_holds(monkeypatch: pytest.MonkeyPatch, trained: list[Call]) -> None:
    judged = scripted(monkeypatch, 0.9, 0.9)
    result = forget(searching(), 2, data=searched_data())
    assert len(trained) == 2
    assert is_weights(result.model, judged[1])
    assert result.notes["search"]["accepted"]


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [(1.0, 281 / 300, True), (1.0, 280 / 300, False), (0.5, 131 / 300, True), (0.5, 130 / 300, False)],
)
def test_the_margin_is_the_tolerance_and_a_standard_error(
    monkeypatch: pytest.MonkeyPatch, before: float, after: float, held: bool
) -> None:
    """Of 300, tolerance 0.05: (19 - sqrt(19)) / 300 = 0.0488 holds, (20 - sqrt(20)) / 300 = 0.0518 not."""
    scripted(monkeypatch, before, after)
    notes = forget(searching(attempts=1), 2, data=searched_data()).notes["search"]
    assert notes["accepted"] == held


def test_the_original_is_judged_without_the_outputs_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task is then as easy as a retrained model's; an attempt is judged on all of its outputs."""

    def predictions(model: nn.Module, samples: Samples, runtime: Any) -> Tensor:
        logits = torch.nn.functional.one_hot(samples.labels, 4).float()
        logits[:, 2] = 5.0
        return logits

    monkeypatch.setattr(search_module, "predict", predictions)
    notes = forget(searching(attempts=1), 2, data=searched_data()).notes["search"]
    assert notes["validation_accuracy_before"] == 1.0
    assert [a["accuracy"] for a in notes["attempts"]] == [0.0]
    assert not notes["accepted"]


def test_an_absurd_rate_is_searched_down_on_a_real_model(digits_run: Path) -> None:
    model, data = digits_model(digits_run)
    method = on_digits("impair.lr=1", "repair.lr=1").model_copy(
        update={"search": SearchSettings(attempts=3, factor=0.02, tolerance=0.05)}
    )
    result = unlearn(model, method, data, ForgetRequest(classes=("3",)), seed=0, runtime=CPU)
    attempts = result.notes["search"]["attempts"]
    assert len(attempts) > 1
    assert attempts[0]["accuracy"] < 0.8
    assert attempts[-1]["accuracy"] > attempts[0]["accuracy"]


def test_the_original_is_judged_before_the_notebooks_noise_disturbs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["cnn-grey"].model()
    judged = scripted(monkeypatch, 1.0, 1.0)
    forget(searching().model_copy(update={"quirks": True}), 2, model=model, data=searched_data())
    assert is_weights(model, judged[0])


# ---- it forgets --------------------------------------------------------------------------------------------------


def digits_model(folder: Path) -> tuple[nn.Module, ImageData]:
    model = SmallCNN(10, 1)
    read_checkpoint(folder / "model.safetensors").load_into(model)
    return model.eval(), load_data("digits")


def on_digits(*settings: str) -> UNSIR:
    """Settings that suit the digits, whatever the default is."""
    return UNSIR.paper().with_settings(
        [
            "retain_per_class=60",
            "noise.batch_size=64",
            "noise.steps=20",
            "noise.repeats=4",
            "impair.lr=0.002",
            "impair.epochs=2",
            "impair.batch_size=64",
            "repair.lr=0.001",
            "repair.epochs=2",
            "repair.batch_size=64",
            *settings,
        ]
    )


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
@pytest.mark.parametrize("classes", [(3,), (0, 8), (1, 2, 4, 5, 6, 7, 9)], ids=["one", "two", "seven"])
def test_it_forgets_one_class_and_several(digits_run: Path, classes: tuple[int, ...]) -> None:
    model, data = digits_model(digits_run)
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
def test_a_class_forgotten_earlier_is_neither_read_nor_brought_back(digits_run: Path, method: UNSIR) -> None:
    model, first_data = digits_model(digits_run)
    forbid(first_data, 3)
    first = unlearn(model, method, first_data, ForgetRequest(classes=(3,)), seed=0, runtime=CPU)
    data = load_data("digits")
    forbid(data, 3, 7)
    request = ForgetRequest(classes=(7,), already_forgotten=(3,))
    second = unlearn(first.model, method, data, request, seed=1, runtime=CPU)
    fresh = load_data("digits")
    assert accuracy(first.model, fresh, 7) > 0.5
    assert accuracy(second.model, fresh, 3) <= 0.1
    assert accuracy(second.model, fresh, 7) <= 0.1
    assert accuracy(second.model, fresh, 0, 1, 2, 4, 5, 6, 8, 9) >= 0.9
    summary: Any = second.access.summary(second.split)
    assert summary["forget_samples_read"] == summary["forget_samples_decoded"] == 0
    assert list(summary["parts"]["excluded_train"]) == ["3"]
    assert len(second.split.excluded["train"]) > 100


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


# ---- losses that are not finite ----------------------------------------------------------------------------------


class FailsLater(nn.Module):
    """A CNN whose output becomes NaN after so many forward passes with gradients."""

    def __init__(self, healthy: int) -> None:
        super().__init__()
        self.inner, self.left = MODELS["cnn-grey"].model(), healthy

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.left -= 1
        return self.inner(images) * (float("nan") if self.left < 0 else 1.0)


@pytest.mark.parametrize(
    ("healthy", "stage", "step"),
    [(0, "noise", 1), (1, "noise", 2), (2, "impair", 1), (5, "impair", 4), (6, "repair", 1), (7, "repair", 2)],
)
def test_a_loss_that_is_not_finite_names_its_stage(healthy: int, stage: str, step: int) -> None:
    """Two noise steps, 18 + 12 images in eights are four impair steps, 12 in eights two repair steps."""
    with pytest.raises(NonFiniteLossError, match=f"'{stage}' became nan at step {step};"):
        forget(plain(), 2, model=FailsLater(healthy))


@pytest.mark.parametrize("stage", ["impair", "repair"])
def test_a_rate_that_blows_the_model_up_is_a_named_error(stage: str) -> None:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)]
    method = plain(f"{stage}.lr=1000", f"{stage}.optimizer=sgd", f"{stage}.epochs=30")
    with pytest.raises(NonFiniteLossError, match=f"'{stage}' became (nan|inf) at step .* rate"):
        forget(method, 2, model=nn.Sequential(*layers))


# ---- what the configuration leaves open --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_the_weight_scale_is_the_root_mean_square_of_matrices_and_kernels(kind: str) -> None:
    model = MODELS[kind].model()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2:
                parameter.fill_(1e6)  # biases and normalisation are left out
    weights = np.concatenate([p.detach().numpy().ravel() for p in model.parameters() if p.dim() >= 2])
    assert weight_scale(model) == pytest.approx(float(np.sqrt((weights.astype(np.float64) ** 2).mean())))


def test_rates_left_open_grow_with_the_weights(trained: list[Call]) -> None:
    model = MODELS["vit-grey"].model()
    for scale in (1, 3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
        forget(plain("impair.lr=none", "repair.lr=none"), 2, model=model)
    for small, large in zip(trained[:2], trained[2:], strict=True):
        assert large.recipe.lr == pytest.approx(3 * small.recipe.lr)
        assert small.recipe.lr < weight_scale(model)


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


def test_batch_statistics_are_estimated_anew_on_the_subset_alone() -> None:
    without, with_it = (forget(plain(recalibrate=r), 2) for r in (False, True))
    assert "recalibrate" not in without.cost["stages"]
    assert with_it.cost["stages"]["recalibrate"]["samples_forward"] == 12
    theirs = without.model.state_dict()
    changed = {k for k, v in with_it.model.state_dict().items() if not torch.equal(v, theirs[k])}
    assert changed == {k for k in theirs if "running" in k or "num_batches" in k}
