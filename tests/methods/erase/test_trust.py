"""Trust says how good the estimate of a direction is that nobody could check: that of the forgotten class."""

from __future__ import annotations

from statistics import mean

import pytest
import torch
from torch import Tensor

from unlearnkit.methods.erase.directions import Whitened, resemblance, shared_directions, showing, unit, whitened
from unlearnkit.methods.erase.trust import trust

C, K, SEEDS = 20, 9, 6
FORGOTTEN = K - 1


def network(astray: float, each: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Retained features, their labels, all means (K, C), and rows of a head that lie `astray` of them."""
    generator = torch.Generator().manual_seed(seed)
    means = 2 * torch.randn(K, C, generator=generator, dtype=torch.float64)
    labels = torch.arange(K - 1).repeat(each)
    features = means[labels] + torch.randn(len(labels), C, generator=generator, dtype=torch.float64)
    noise = torch.randn(K, C, generator=generator, dtype=torch.float64)
    return features, labels, means, means - means.mean(dim=0) + 2 * astray * noise


def hidden_cosine(features: Tensor, labels: Tensor, means: Tensor, rows: Tensor) -> float:
    """The cosine of the forgotten class's estimate with its mean, which no method may see."""
    space = whitened(features, labels)
    shared = shared_directions(features, labels, space)
    looks = resemblance(features, rows, [FORGOTTEN], [FORGOTTEN])
    estimate = showing(features, looks, space, shared).directions[:, 0]
    true = space.inverse @ (means[FORGOTTEN] - space.mean)
    return float(estimate @ unit((true - shared @ (shared.T @ true))[:, None])[:, 0])


@pytest.mark.parametrize("each", [20, 200])
def test_it_foretells_the_cosine_of_the_class_that_it_does_not_see(each: int) -> None:
    found = {}
    for astray in (0.0, 0.5, 2.0):
        made = [network(astray, each, seed) for seed in range(SEEDS)]
        foretold = mean(trust(f, y, w, [FORGOTTEN]) or 0.0 for f, y, _, w in made)
        found[astray] = foretold
        assert foretold == pytest.approx(mean(hidden_cosine(*each_made) for each_made in made), abs=0.1)
    assert found[0.0] > found[0.5] + 0.03 > found[2.0] + 0.2, "the farther the rows, the less is it to be trusted"


def test_the_noise_of_few_images_is_not_taken_for_distance() -> None:
    """Means of six images are off by 1.8 deviations in 20 channels, which as length would count."""
    made = [network(0.0, 6, seed) for seed in range(4 * SEEDS)]
    foretold = mean(trust(f, y, w, [FORGOTTEN]) or 0.0 for f, y, _, w in made)
    assert foretold == pytest.approx(mean(hidden_cosine(*each_made) for each_made in made), abs=0.03)


def test_rows_of_classes_that_were_forgotten_earlier_do_not_count() -> None:
    features, labels, _, rows = network(0.0, 100, 0)
    known = trust(features, labels, rows, [FORGOTTEN])
    longer = torch.cat([rows, 50 * torch.randn(1, C, generator=torch.Generator().manual_seed(1)).to(rows)])
    assert trust(features, labels, longer, [FORGOTTEN, K]) == pytest.approx(known)
    assert trust(features, labels, longer, [FORGOTTEN]) != pytest.approx(known, abs=0.02)


def test_it_is_a_cosine() -> None:
    """Of noise the estimate may by chance be longer than what it is held against."""
    for seed in range(150):
        generator = torch.Generator().manual_seed(seed)
        noise, rows = torch.randn(80, C, generator=generator), torch.randn(5, C, generator=generator)
        found = trust(noise, torch.arange(4).repeat(20), rows, [4])
        assert found is None or -1 <= found <= 1


def test_at_most_ten_classes_play_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each needs a decomposition, so of a thousand classes ten must do, and three where there are many features."""
    played: list[int] = []

    def counted(features: Tensor, labels: Tensor) -> Whitened:
        played.append(len(labels))
        return whitened(features, labels)

    monkeypatch.setattr("unlearnkit.methods.erase.trust.whitened", counted)
    labels = torch.arange(23).repeat(10)
    generator = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(24, C, generator=generator)
    features = means[labels] + torch.randn(len(labels), C, generator=generator)
    assert trust(features, labels, means, [23]) is not None
    assert 5 <= len(played) <= 10
    assert set(played) == {220}
    played.clear()
    monkeypatch.setattr("unlearnkit.methods.erase.trust.WIDE", C - 1)
    assert trust(features, labels, means, [23]) is not None
    assert len(played) == 3


def test_a_class_of_few_images_does_not_play_the_part() -> None:
    """Its images matter to the others alone: its own direction is not asked for."""
    features, labels, _, rows = network(0.0, 100, 0)
    astray = rows.clone()
    astray[3] = -rows[3]
    everyone = trust(features, labels, rows, [FORGOTTEN])
    assert everyone is not None
    assert (trust(features, labels, astray, [FORGOTTEN]) or 0) < everyone - 0.1, "class 3 is judged by its row"
    few = (labels != 3) | (torch.arange(len(labels)) < 3 * (K - 1))
    assert int((labels[few] == 3).sum()) == 3
    assert trust(features[few], labels[few], astray, [FORGOTTEN]) == pytest.approx(everyone, abs=0.06)


def test_where_it_cannot_be_told_there_is_none() -> None:
    features, labels, _, rows = network(0.0, 10, 0)
    two = labels < 2
    assert trust(features[two], labels[two], rows, [FORGOTTEN]) is None
    assert trust(features[: 2 * (K - 1)], labels[: 2 * (K - 1)], rows, [FORGOTTEN]) is None, "two images of each"
    one = torch.cat([(labels == 0).nonzero()[:, 0], (labels > 0).nonzero()[:2, 0]])
    assert trust(features[one], labels[one], rows, [FORGOTTEN]) is None, "one class of ten images, two of one"
    rows[2, 0] = torch.nan
    assert trust(features, labels, rows, [FORGOTTEN]) is None
    assert trust(torch.zeros(80, C), torch.arange(8).repeat(10), torch.eye(K, C), [FORGOTTEN]) is None, (
        "all images alike"
    )
