"""The losses against their closed forms: cross-entropy, label smoothing, distillation, a loss of one's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training_runs import double_cnn, images_and_labels
from unlearnkit.training.losses import cross_entropy, distillation, supervised


def test_cross_entropy_is_computed_in_float32_at_least() -> None:
    logits, labels = (
        30 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 1, 2, 3, 0, 1]),
    )
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float32,) * 2, (torch.float64,) * 2):
        value = cross_entropy(nn.Identity(), logits.to(dtype), labels)
        assert value.dtype == expected
        torch.testing.assert_close(value, F.cross_entropy(logits.to(dtype).to(expected), labels))


def test_label_smoothing_is_the_mean_with_the_uniform_distribution() -> None:
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    value = supervised(label_smoothing=0.2)(nn.Identity(), logits, labels)
    target = 0.8 * F.one_hot(labels, 4) + 0.2 / 4
    assert float(value) == pytest.approx(float(-(target * logits.log_softmax(1)).sum(1).mean()))


def test_the_users_own_criterion_is_the_loss() -> None:
    criterion = nn.MultiMarginLoss()
    images, labels = images_and_labels(8)
    model = double_cnn()
    value = supervised(criterion)(model, images, labels)
    assert value.item() == pytest.approx(criterion(model(images), labels).item())


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
