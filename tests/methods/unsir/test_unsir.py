"""UNSIR: what each step sees, and what it says where a loss is not finite."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from canonical import MODELS, tiny_data
from unlearnkit.errors import NonFiniteLossError
from unlearnkit.models import SmallCNN
from unlearnkit.runtime.runlog import KEPT
from unlearnkit.split import Part
from unlearnkit.training.losses import cross_entropy
from unsir_runs import Call, forget, key, plain, retained_images


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


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_distilling_repair_targets_the_original_and_leaves_out_all_that_is_gone(
    augment: str, trained: list[Call]
) -> None:
    """The target by hand: the original's probabilities of the classes that stay, scaled to sum to one."""
    model, other = MODELS["cnn-grey"].model(), SmallCNN(4, 1, width=4).eval()
    data, method = tiny_data(augment=augment), plain("repair.distill=true", augment=True)
    cost = forget(method, 2, model=model, data=data, already_forgotten=(0,)).cost
    impair, repair = trained
    assert impair.loss is cross_entropy
    with torch.no_grad():
        stay = model(repair.images).softmax(dim=1)[:, [1, 3]]
        said = other(repair.images).log_softmax(dim=1)[:, [1, 3]]
        wanted = -(stay / stay.sum(dim=1, keepdim=True) * said).sum(dim=1).mean()
        assert float(repair.loss(other, repair.images, repair.labels)) == pytest.approx(float(wanted), rel=1e-5)
    asked_once = augment == "none"  # an image that is another one at every read has another answer
    assert ("answers" in cost["stages"]) == asked_once


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


def test_batch_statistics_are_estimated_anew_on_the_subset_alone() -> None:
    without, with_it = (forget(plain(recalibrate=r), 2) for r in (False, True))
    assert "recalibrate" not in without.cost["stages"]
    assert with_it.cost["stages"]["recalibrate"]["samples_forward"] == 12
    theirs = without.model.state_dict()
    changed = {k for k, v in with_it.model.state_dict().items() if not torch.equal(v, theirs[k])}
    assert changed == {k for k in theirs if "running" in k or "num_batches" in k}
