"""The method erase on small networks: what changes, what it uses, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from canonical import CLASSES, CPU, MODELS, tiny_data
from unlearnkit.errors import ModelError
from unlearnkit.methods import Erase, Unlearned, unlearn
from unlearnkit.methods.erase.directions import ROW_TRUST, showing_of
from unlearnkit.methods.erase.edit import find_edit, renew_statistics, wanted
from unlearnkit.methods.erase.head import KEPT_RIDGE, fit_head
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
    method = Erase(**{"retain_per_class": 150, "start": 0.3, "level": 0.0, **settings})
    return unlearn(model, method, tiny_data(per_class=200, forbidden=(2,)), request, seed=0, runtime=CPU)


def placed(shift: float) -> tuple[Observed, tuple[Tensor, ...], Tensor]:
    """300 maps of three classes, in which the resemblance shows in channel 5 at one place, and the resemblance."""
    generator = torch.Generator().manual_seed(0)
    looks = torch.randn(300, 1, generator=generator)
    maps = 0.5 * torch.randn(300, 8, 4, 4, generator=generator)
    maps[:, 5, 1, 2] += 2 + shift * looks[:, 0]
    labels, empty = torch.tensor([0, 1, 3]).repeat(100), torch.empty(0)
    return Observed(labels, empty, empty, empty, empty, {}, {}), maps.split(250), looks


def test_the_resemblance_is_brought_down_to_what_may_show() -> None:
    stage = find_stages(Grouped(), head="head", shape=SHAPE).stages[1]
    seen, maps, looks = placed(1.0)
    features = torch.cat([peaks(part, None) for part in maps])
    before = showing_of(features, seen.labels, looks).by_class
    edit = find_edit(stage, maps, seen, looks, 0.3 * before)
    assert edit.shown == before.tolist()
    after = torch.cat([peaks((edit.projection.float() @ part.flatten(2)).unflatten(2, (4, 4)), None) for part in maps])
    assert float(showing_of(after, seen.labels, looks).by_class) < 0.35 * float(before)
    assert torch.allclose(edit.mean, torch.cat(maps).mean(dim=(0, 2, 3)).double(), atol=1e-6)
    (strength,) = edit.strengths
    assert strength > 1, "the largest values follow a projection of all values in part"
    alone = find_edit(stage, maps, seen, looks, 2 * before)
    assert (alone.strengths, torch.equal(alone.projection, torch.eye(8, dtype=torch.float64))) == ([], True)


def test_what_may_be_noise_is_no_direction_and_no_level_below_it_is_aimed_at() -> None:
    stage = find_stages(Grouped(), head="head", shape=SHAPE).stages[1]
    seen, maps, looks = placed(0.07)
    found = showing_of(torch.cat([peaks(part, None) for part in maps]), seen.labels, looks)
    assert 0 < float(found.sizes) < found.noise
    assert find_edit(stage, maps, seen, looks, torch.zeros(1)).strengths == []
    torch.manual_seed(0)
    notes = forget(Grouped(), level=1.0).notes["erase"]
    assert notes["may_show"] == [0.0]
    assert notes["along"][0] > 0.1


def test_what_an_estimate_misses_counts_for_the_target() -> None:
    shown, target = torch.tensor([1.0, 1.0, 0.5]), torch.tensor([1.0, 0.4, 0.4])
    left = wanted(shown, target)
    assert torch.allclose(left[[0, 1]], torch.tensor([1.0, 0.0]), atol=1e-6), "what it misses alone is more than .4"
    missed = (1 - ROW_TRUST**2) * shown[2] ** 2
    assert torch.allclose(missed + ROW_TRUST**2 * left[2] ** 2, target[2] ** 2)


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
    torch.manual_seed(3)  # of untrained networks, one in which something shows
    given = model().eval()
    result = forget(given, rows=rows)
    layers = result.notes["erase"]["layers"]
    moved = {n for n, p in result.model.named_parameters() if not torch.equal(p, given.get_parameter(n))}
    changed = {f"{layer['layer']}.weight" for layer in layers if layer.get("strengths") or "rows" in layer}
    assert changed | {"head.weight"} <= {name.replace("classifier", "head") for name in moved}
    assert not any(name.startswith(("first", "features.0")) for name in moved)
    *edited, head = layers
    assert head["layer"] == "head"
    assert len(edited[0]["strengths"]) == 1
    assert ["rows" in layer for layer in edited] == [False] + [rows > 0] * (len(edited) - 1), "the first keeps its fit"


def test_the_projected_part_of_the_output_is_gone() -> None:
    """Without a refit, where the strength is 1, the edited layer's outputs span one dimension less."""
    stage = find_stages(Grouped(), head="head", shape=SHAPE).stages[1]
    seen, maps, looks = placed(1.0)
    edit = find_edit(stage, maps, seen, looks, torch.zeros(1))
    (strength,) = edit.strengths
    whole = torch.eye(8) - (torch.eye(8) - edit.projection) / strength
    assert int((torch.linalg.svdvals(whole) < 1e-4).sum()) == 1, "a projection of rank C - 1"


def test_of_large_images_fewer_are_in_the_network_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearnkit.methods.erase.erase.MEMORY", 5 * 4 * (8 * 64 + 8 * 64))
    monkeypatch.setattr("unlearnkit.methods.erase.erase.BATCH", 2)
    assert forget(Grouped()).notes["erase"]["images"] == 5


def test_what_is_left_as_it_is_has_its_name_in_the_notes() -> None:
    class Depthwise(Grouped):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.norm2 = nn.Sequential(nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8))

    assert forget(Depthwise()).notes["erase"]["left_alone"] == ["second"]


def test_classes_forgotten_earlier_stay_out() -> None:
    """They are no retained class, have no direction, and their row is as low as that of the new one."""
    torch.manual_seed(3)
    given = Grouped().eval()
    result = forget(given, earlier=("ant",))
    assert result.access.forget_samples_read(result.split) == 0
    head = result.model.head
    assert torch.equal(head.weight[0], head.weight[2])
    moved = (head.weight - given.head.weight).detach().abs().amax(dim=1)
    assert float(moved[[1, 3]].max()) < 0.5 * float(moved[[0, 2]].min()), "retained rows stay near what they were"
    assert all(len(layer["strengths"]) == 1 for layer in result.notes["erase"]["layers"][:-1])
    assert result.notes["erase"]["images"] == 300


@torch.no_grad()
def test_the_head_is_fitted_to_the_retained_scores_and_to_the_lowest_of_them() -> None:
    """Where they are linear in the features the fit of the lowest is exact; their ridge holds the retained rows."""
    generator = torch.Generator().manual_seed(0)
    head, truth = nn.Linear(6, 4), torch.randn(6, 4, generator=generator)
    features = torch.randn(2000, 6, generator=generator)
    scores = features @ truth + 9
    scores[:, 1] = scores[:, 0] - 1
    scores[:, 3] = scores[:, 0] + 1
    scores[:, 2] = 50.0
    before = head.weight.clone()
    fit_head(head, features, scores, [2], 1e-6)
    assert torch.allclose(head(features)[:, 2], scores[:, 1], atol=1e-3), "no image is ever given the class"
    wanted = before[0] + (truth[:, 0] - before[0]) / (1 + KEPT_RIDGE)
    assert torch.allclose(head.weight[0], wanted, atol=0.02), "the features are as good as white"
    assert torch.allclose(head(features)[:, [0, 1, 3]].mean(dim=0), scores[:, [0, 1, 3]].mean(dim=0), atol=1e-4)
    single = nn.Linear(6, 2)
    fit_head(single, features, scores[:, 1:3], [1], 1e-6)
    assert torch.allclose(single(features)[:, 1], scores[:, 1], atol=1e-3), "of one retained class the lowest of all"
    plain = nn.Linear(6, 4, bias=False)
    before = plain.weight.clone()
    fit_head(plain, features, plain(features), [2], 1.0)
    assert torch.allclose(plain.weight[[0, 1, 3]], before[[0, 1, 3]], atol=1e-6), "what gives its scores stays"


def test_of_one_image_no_direction_can_be_read() -> None:
    with pytest.raises(ModelError, match="Expected two retained images or more"):
        unlearn(
            Grouped(), Erase(retain_per_class=1), tiny_data(), ForgetRequest(classes=CLASSES[1:]), seed=0, runtime=CPU
        )


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
