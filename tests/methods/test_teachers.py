"""SCRUB, Bad Teacher and DELETE: their losses against closed forms, and what each epoch sees."""

from __future__ import annotations

import copy
import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy
from torch import Tensor, nn

import unlearnkit.methods.common.fitting as fitting_module
import unlearnkit.methods.delete as delete_module
from canonical import CLASSES, CPU, MODELS, STEPS, tiny_data
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.methods import DELETE, SCRUB, BadTeacher, BoundaryShrink, unlearn
from unlearnkit.methods.bad_teacher import two_teachers
from unlearnkit.methods.common.teachers import divergence, teacher_of
from unlearnkit.methods.scrub import disobeying, obeying
from unlearnkit.request import ForgetRequest
from unlearnkit.training.recipe import Recipe


class Table(nn.Module):
    """Logits looked up by the first pixel of an image; an object with logits, if wanted."""

    def __init__(self, logits: Tensor, *, wrapped: bool = False) -> None:
        super().__init__()
        self.rows, self.wrapped = nn.Parameter(logits), wrapped

    def forward(self, images: Tensor) -> Any:
        logits = self.rows[images[:, 0, 0, 0].long()]
        return SimpleNamespace(logits=logits) if self.wrapped else logits


def logits(seed: int, n: int = 5) -> Tensor:
    return 2 * torch.randn(n, len(CLASSES), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(n: int = 5) -> Tensor:
    return torch.arange(n).view(n, 1, 1, 1).double()


def random_images(n: int) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(4))


def kl(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> np.ndarray:
    p, q = ((x / temperature).softmax(dim=1).detach().numpy() for x in (teacher, student))
    return temperature**2 * np.asarray(entropy(p, q, axis=1))


# ---- the divergence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_is_scipys_of_the_student_from_the_teacher(temperature: float) -> None:
    teacher, student = logits(0), logits(1)
    found = divergence(teacher, student, temperature)
    assert found.tolist() == pytest.approx(kl(teacher, student, temperature).tolist())
    assert found.tolist() != pytest.approx(kl(student, teacher, temperature).tolist())
    assert divergence(teacher, teacher, temperature).abs().max() < 1e-12


# ---- SCRUB -------------------------------------------------------------------------------------------------------


class Fit:
    """What one training was given, and a copy of the student as it left it."""

    def __init__(self, student: nn.Module, samples: Any, recipe: Recipe, stage: str, loss: Any) -> None:
        self.student = copy.deepcopy(student)
        self.labels, self.recipe, self.stage, self.loss = set(samples.labels.tolist()), recipe, stage, loss

    def value(self, x: Tensor, y: Tensor) -> float:
        """The loss of the student as the training left it."""
        return float(self.loss(self.student, x, y).detach())


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Fit]:
    """Records every training that a method asks for, and moves the student instead of training it.

    A teacher that is the student, or is copied from it too late, moves along, and its loss has another value then.
    """
    seen: list[Fit] = []

    def spy(model: nn.Module, samples: Any, recipe: Recipe, **options: Any) -> None:
        with torch.no_grad():
            model.get_parameter("head.bias")[1] += 0.5
        seen.append(Fit(model, samples, recipe, options["stage"], options["loss"]))

    monkeypatch.setattr(fitting_module, "train", spy)
    return seen


def run(method: Any, *classes: int, **options: Any) -> Any:
    setting = MODELS["cnn-grey"]
    options = {"factory": setting.fresh, "already_forgotten": ()} | options
    request = ForgetRequest(classes=classes, already_forgotten=options.pop("already_forgotten"))
    model = options.pop("model", None) or setting.model()
    return unlearn(model, method, tiny_data(), request, seed=0, runtime=CPU, **options)


@pytest.mark.parametrize(
    ("rounds", "max_rounds", "stages"),
    [(3, 2, "max min max min min"), (2, 2, "max min max min"), (4, 1, "max min min min min")],
)
def test_scrub_alternates_max_and_min_epochs_and_ends_with_min_epochs(
    rounds: int, max_rounds: int, stages: str, fits: list[Fit]
) -> None:
    """And a max epoch is one: its loss is minus the divergence from the original, with T as set, and nothing else."""
    ascent, descent, original = Recipe(epochs=1, lr=0.1), Recipe(epochs=1, lr=0.2), MODELS["cnn-grey"].model()
    sizes: Any = {"rounds": rounds, "max_rounds": max_rounds, "temperature": 2.0, "alpha": 0.3, "gamma": 0.7}
    run(SCRUB(ascent=ascent, descent=descent, **sizes), 1, 3, model=original)
    assert " ".join(f.stage for f in fits) == stages
    x, y = random_images(6), torch.tensor([0, 2, 0, 1, 2, 3])
    for fit in fits:
        assert fit.recipe.epochs == 1
        assert fit.recipe.lr == (0.1 if fit.stage == "max" else 0.2)
        assert fit.labels == ({1, 3} if fit.stage == "max" else {0, 2})
        apart = float(kl(original(x), fit.student(x), 2.0).mean())
        known = float(F.cross_entropy(fit.student(x), y).detach())
        assert apart > 0.01
        assert fit.value(x, y) == pytest.approx(-apart if fit.stage == "max" else 0.3 * apart + 0.7 * known, rel=1e-4)


def test_scrub_as_published_has_two_max_epochs_in_three_rounds(fits: list[Fit]) -> None:
    run(SCRUB.paper(), 2)
    assert [f.stage for f in fits] == ["max", "min", "max", "min", "min"]
    with pytest.raises(ConfigError, match="max_rounds"):
        SCRUB(rounds=1, max_rounds=2)


@pytest.mark.parametrize("wrapped", [False, True])
def test_scrubs_losses_are_their_terms(wrapped: bool) -> None:
    teacher, student, labels = logits(0), logits(1), torch.tensor([0, 1, 2, 3, 1])
    old, new = Table(teacher, wrapped=wrapped), Table(student, wrapped=wrapped)
    apart = kl(teacher, student, 4.0).mean()
    assert float(disobeying(old, 4.0)(new, images(), labels).detach()) == pytest.approx(-apart)
    ce = float(F.cross_entropy(student, labels))
    found = obeying(old, 4.0, 0.3, 0.7)(new, images(), labels)
    assert float(found.detach()) == pytest.approx(0.3 * apart + 0.7 * ce)
    own = obeying(old, 4.0, 0.3, 0.7, lambda a, b: 2 * F.cross_entropy(a, b))(new, images(), labels)
    assert float(own.detach()) == pytest.approx(0.3 * apart + 1.4 * ce)
    found.backward()
    assert old.rows.grad is None


def test_a_student_that_is_the_teacher_is_not_moved_by_rounding() -> None:
    """In exact arithmetic the first max epoch has no slope without BatchNorm and dropout; Adam would follow any."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, len(CLASSES)))
    teacher, optimizer = teacher_of(network), torch.optim.Adam(network.parameters(), lr=5e-3)
    loss, x = disobeying(teacher, 4.0), random_images(16)
    for _ in range(5):
        optimizer.zero_grad()
        loss(network, x, torch.zeros(16)).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), teacher.parameters(), strict=True))
    with torch.no_grad():
        network[3].bias[0] += 0.01
    loss(network, x, torch.zeros(16)).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


# ---- Bad Teacher -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [[0, 2, 1, 3, 2], [0, 1, 0, 1, 0], [2, 3, 2, 3, 2]], ids=["mixed", "keep", "forget"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_bad_teachers_loss_is_its_two_divergences(labels: list[int], temperature: float) -> None:
    """Classes 2 and 3 are forgotten: their images follow the incompetent teacher, all others the competent one."""
    competent, incompetent, student = logits(0), logits(1), logits(2)
    loss = two_teachers(Table(competent), Table(incompetent), 4, temperature)
    from_good, from_bad = kl(competent, student, temperature), kl(incompetent, student, temperature)
    wanted = np.mean([from_bad[i] if y in (2, 3) else from_good[i] for i, y in enumerate(labels)])
    marked = torch.tensor([y + 4 * (y in (2, 3)) for y in labels])
    found = loss(Table(student), images(), marked)
    assert float(found.detach()) == pytest.approx(float(wanted))


def test_bad_teacher_distils_a_fresh_network_and_the_original(fits: list[Fit]) -> None:
    model, built = MODELS["cnn-grey"].model(), []

    def factory() -> nn.Module:
        built.append(MODELS["cnn-grey"].fresh())
        return built[0]

    run(BadTeacher(), 2, model=model, factory=factory)
    (fit,) = fits
    assert fit.labels == {0, 1, 2 + 4, 3}  # what is to be forgotten is marked
    assert not built[0].training
    x = random_images(4)
    for label, teacher in ((2 + 4, built[0]), (0, model)):
        apart = float(kl(teacher(x), fit.student(x)).mean())
        assert apart > 0.01
        assert fit.value(x, torch.full((4,), label)) == pytest.approx(apart, rel=1e-4)


def test_bad_teacher_says_that_it_needs_a_factory() -> None:
    with pytest.raises(ModelError, match="factory for Bad Teacher"):
        run(BadTeacher(), 2, factory=None)


# ---- DELETE ------------------------------------------------------------------------------------------------------


def targets(fit: Fit, student: Tensor) -> Tensor:
    """What the loss pulls the student to: softmax(student) less the gradient of the summed loss."""
    model = Table(student.clone())
    (fit.loss(model, images(len(student)), torch.zeros(len(student), dtype=torch.int64)) * len(student)).backward()
    assert model.rows.grad is not None
    return student.softmax(dim=1) - model.rows.grad


@pytest.mark.parametrize(
    ("forget", "earlier", "left"), [((2,), (), [0, 1, 3]), ((1, 3), (), [0, 2]), ((2,), (0,), [1, 3])]
)
def test_deletes_target_never_holds_a_forgotten_class_and_keeps_the_ratios_of_the_others(
    forget: tuple[int, ...], earlier: tuple[int, ...], left: list[int], fits: list[Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = logits(0)
    monkeypatch.setattr(delete_module, "teacher_of", lambda _model: Table(original).requires_grad_(False))
    run(DELETE(), *forget, already_forgotten=earlier)
    (fit,) = fits
    assert fit.labels == set(forget)
    found = targets(fit, logits(1))
    gone = [k for k in range(len(CLASSES)) if k not in left]
    assert found[:, gone].abs().max() < 1e-12
    assert found.sum(dim=1).tolist() == pytest.approx([1.0] * 5)
    for a, b in itertools.pairwise(left):
        ratio = found[:, a] / found[:, b]
        assert ratio.tolist() == pytest.approx((original[:, a] - original[:, b]).exp().tolist())


def test_deletes_loss_is_the_divergence_up_to_a_constant(fits: list[Fit], monkeypatch: pytest.MonkeyPatch) -> None:
    original = logits(0)
    monkeypatch.setattr(delete_module, "teacher_of", lambda _model: Table(original).requires_grad_(False))
    run(DELETE(), 2)
    masked, apart = original.clone(), []
    masked[:, 2] = -math.inf
    for seed in (1, 2, 3):
        value = fits[0].loss(Table(logits(seed)), images(), torch.full((5,), 2))
        apart.append(float(value.detach()) - kl(masked, logits(seed)).mean())
    assert apart == pytest.approx([apart[0]] * 3)
    assert apart[0] == pytest.approx(float(entropy(masked.softmax(dim=1).numpy(), axis=1).mean()))


def test_deletes_teacher_is_the_original_and_not_the_student(fits: list[Fit]) -> None:
    original, x = MODELS["cnn-grey"].model(), random_images(6)
    run(DELETE(), 2, model=original)  # the student moves in class 1, which stays in the target
    target = original(x)[:, [0, 1, 3]].softmax(dim=1).detach()
    wanted = -(target * fits[0].student(x).log_softmax(dim=1)[:, [0, 1, 3]]).sum(dim=1).mean()
    assert fits[0].value(x, torch.full((6,), 2)) == pytest.approx(float(wanted.detach()), rel=1e-4)


# ---- batch statistics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("follow", [False, True])
def test_statistics_follow_the_forget_batches_only_where_asked(follow: bool) -> None:
    model = MODELS["cnn-grey"].model()
    result = run(DELETE(recipe=STEPS, batch_statistics=follow), 2, model=model).model
    same = [torch.equal(b, result.get_buffer(name)) for name, b in model.named_buffers()]
    assert not any(same) if follow else all(same)


@pytest.mark.parametrize("kind", [DELETE, BoundaryShrink])
def test_what_needs_no_batch_statistics_takes_batches_of_one(kind: Any) -> None:
    ones = Recipe(epochs=1, batch_size=1, lr=1e-3)
    assert run(kind(recipe=ones), 2).history
    with pytest.raises(ConfigError, match="choose another batch size"):
        run(kind(recipe=ones, batch_statistics=True), 2)


def test_a_teacher_is_a_frozen_copy_in_eval_mode() -> None:
    model = MODELS["cnn-grey"].model().train()
    teacher = teacher_of(model)
    assert not teacher.training
    assert model.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert {p.data_ptr() for p in teacher.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())
