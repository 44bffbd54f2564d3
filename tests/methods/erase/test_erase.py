"""The method erase on small networks: what changes, what it uses, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from canonical import CLASSES, CPU, MODELS, tiny_data
from unlearnkit.errors import ModelError
from unlearnkit.methods import Erase, Unlearned, unlearn
from unlearnkit.methods.erase.directions import (
    projection,
    resemblance,
    row_directions,
    shared_directions,
    whitened,
    without_shared,
)
from unlearnkit.methods.erase.edit import plan_edit, renew_statistics
from unlearnkit.methods.erase.head import fit_rows
from unlearnkit.methods.erase.observe import Observed, peaks
from unlearnkit.methods.erase.stages import find_stages
from unlearnkit.models import SmallCNN
from unlearnkit.request import ForgetRequest

SHAPE = (1, 8, 8)


class Grouped(nn.Module):
    """Two convolutions with GroupNorm and without any running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.first(images)))
        return self.head(torch.relu(self.norm2(self.second(x))).mean(dim=(2, 3)))


def forget(model: nn.Module, *, earlier: tuple[str, ...] = (), **settings: Any) -> Unlearned:
    request = ForgetRequest(classes=("cat",), already_forgotten=earlier)
    method = Erase(**{"retain_per_class": 8, "start": 0.3, **settings})
    return unlearn(model, method, tiny_data(forbidden=(2,)), request, seed=0, runtime=CPU)


def seen(stage: str, channels: int = 8) -> Observed:
    """What a stage gives for 60 images of the classes 0, 1 and 3."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 3]).repeat(20)
    features = torch.randn(60, channels, generator=generator) + labels[:, None]
    entering, rows = features.relu(), torch.randn(4, channels, generator=generator)
    return Observed(labels, entering, rows, entering @ rows.T, {stage: features}, {stage: features}, {}, {})


def test_a_network_without_batchnorm_takes_the_heads_row_alone() -> None:
    torch.manual_seed(0)
    stage = find_stages(Grouped(), head="head", shape=SHAPE).stages[1]
    assert stage.norm is None
    original = seen(stage.name)
    features = original.features[stage.name]
    space = whitened(features, original.labels)
    found = row_directions(features, resemblance(original.entering, original.rows, [2], [2]), space)
    wanted = projection(without_shared(found, shared_directions(features, original.labels, space)), space, 1.5)
    edit = plan_edit(stage, original, [2], [2], 1.5)
    assert torch.allclose(edit.projection, wanted)
    assert torch.allclose(edit.mean, features.double().mean(dim=0))


def test_a_running_mean_is_used_where_there_is_one() -> None:
    model = MODELS["cnn-grey"].model()
    stage = find_stages(model, head="head", shape=SHAPE).stages[1]
    original = seen(stage.name)
    mean = original.features[stage.name].mean(dim=0)
    assert stage.norm is not None
    found = []
    for shift in (torch.zeros(8), torch.tensor([1.0, -1.0, 0.5, -0.5, 0.0, 0.0, 0.0, 0.0])):
        stage.norm.running_mean = mean + shift
        edits = [plan_edit(stage, original, [2], [2], 1.0).projection]
        stage.norm.running_mean = mean - shift
        edits.append(plan_edit(stage, original, [2], [2], 1.0).projection)
        found.append(edits)
    alone = plan_edit(find_stages(Grouped(), head="head", shape=SHAPE).stages[1], seen("second"), [2], [2], 1.0)
    assert torch.allclose(found[0][0], alone.projection, atol=1e-6), "statistics estimated again tell nothing"
    agreeing = [not torch.allclose(edit, alone.projection, atol=1e-3) for edit in found[1]]
    assert sorted(agreeing) == [False, True], "of two opposite differences, that which fits the row is used"


def test_peaks_are_the_values_that_an_activation_lets_through() -> None:
    values = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    norm = nn.BatchNorm2d(2)
    norm.weight.data = torch.tensor([2.0, -1.0])
    found, oracle = peaks(values, norm), norm.eval()(values).flatten(2).amax(dim=2)
    assert torch.allclose(norm(found[:, :, None, None])[:, :, 0, 0], oracle, atol=1e-5)
    assert torch.equal(peaks(values, None), values.amax(dim=(2, 3)))
    assert torch.equal(peaks(values[:, :, 0, 0], norm), values[:, :, 0, 0])


@pytest.mark.parametrize("model", [Grouped, lambda: MODELS["cnn-grey"].model()], ids=["groupnorm", "batchnorm"])
@pytest.mark.parametrize("rows", [0, 16])
def test_layers_of_the_later_part_and_the_head_change(model: Any, rows: float) -> None:
    torch.manual_seed(0)
    given = model().eval()
    result = forget(given, rows=rows)
    layers = result.notes["erase"]["layers"]
    moved = {n for n, p in result.model.named_parameters() if not torch.equal(p, given.get_parameter(n))}
    assert {f"{layer['layer']}.weight" for layer in layers} | {"head.weight"} <= moved
    assert not any(name.startswith(("first", "features.0")) for name in moved)
    assert all(layer["directions"] == 1 for layer in layers)
    assert ["rows" in layer for layer in layers] == [False] + [rows > 0] * (len(layers) - 1), "the first keeps its fit"


def test_the_projected_part_of_the_output_is_gone() -> None:
    """Without a refit, at strength 1, the edited layer's outputs span one dimension less."""
    torch.manual_seed(0)
    given = Grouped().eval()
    result = forget(given, rows=0, strength=1.0, start=0.5)
    change = result.model.second.weight.flatten(1) @ torch.linalg.pinv(given.second.weight.detach().flatten(1))
    values = torch.linalg.svdvals(change.detach())
    assert int((values < 1e-4).sum()) == 1, "a projection of rank C - 1"


def test_classes_forgotten_earlier_stay_out() -> None:
    """They are no retained class, have no direction, and their row is as low as that of the new one."""
    torch.manual_seed(0)
    given = Grouped().eval()
    result = forget(given, earlier=("ant",))
    assert result.access.forget_samples_read(result.split) == 0
    head = result.model.head
    assert torch.equal(head.weight[0], head.weight[2])
    assert torch.equal(head.weight[[1, 3]], given.head.weight[[1, 3]])
    assert all(layer["directions"] == 1 for layer in result.notes["erase"]["layers"])
    assert result.notes["erase"]["images"] == 16


@torch.no_grad()
def test_the_heads_rows_are_fitted_to_the_lowest_retained_score() -> None:
    """Where that score is linear in the features the fit is exact, and no image is ever given the class."""
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(6, 4)
    features = torch.randn(200, 6, generator=generator)
    lowest = features @ torch.randn(6, generator=generator)
    scores = lowest[:, None] + torch.rand(200, 4, generator=generator)
    scores[:, 1] = lowest
    scores[:, 2] = 50.0
    before = head.weight.clone()
    fit_rows(head, features, scores, [2], 1e-6)
    assert torch.allclose(head(features)[:, 2], lowest, atol=1e-3)
    assert torch.equal(head.weight[[0, 1, 3]], before[[0, 1, 3]])


def test_statistics_are_those_of_all_batches_together() -> None:
    norm, parts = nn.BatchNorm2d(3), [torch.randn(n, 3, 4, 4) + 2 for n in (5, 5, 2)]
    renew_statistics(norm, parts)
    once = nn.BatchNorm2d(3, momentum=None)
    once(torch.cat(parts))
    assert torch.allclose(norm.running_mean, once.running_mean, atol=1e-5)
    assert torch.allclose(norm.running_var, once.running_var, atol=1e-5)


def test_a_network_with_nothing_to_edit_is_refused_in_a_sentence_that_says_what_would_do() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(64, len(CLASSES))

        def forward(self, images: Tensor) -> Tensor:
            return self.head(images.flatten(1))

    with pytest.raises(ModelError, match=r"Expected a convolution or linear layer before the head.*choose unsir"):
        forget(Linear())
    with pytest.raises(ModelError, match=r"behind 90% of the layers.*features\.6.*lower start"):
        forget(SmallCNN(len(CLASSES), 1, width=4), start=0.9)
