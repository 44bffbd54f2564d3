"""One Preprocessing: its ranges, its written form, and who decides which of its values."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

import unlearnkit
from unlearnkit.data.preprocessing import (
    LARGEST,
    Origin,
    PartialPreprocessing,
    Preprocessing,
    check_units,
    resolve,
    wanted_of,
)
from unlearnkit.data.sources.registry import load_data
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.models.checkpoint import read_checkpoint

SOURCES = Path(unlearnkit.__file__).parent
COMMITTED = sorted((Path(__file__).parents[1] / "weights" / "cifar10").glob("*.safetensors"))
FULL = Preprocessing(
    size=32, crop=0.875, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), channels=3
)


@pytest.mark.parametrize("kind", [Preprocessing, PartialPreprocessing])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 0}, f"from 1 to {LARGEST} pixels, but got 0"),
        ({"size": LARGEST + 1}, "8193; most models take"),
        ({"size": "8"}, "but got '8'"),
        ({"size": 8, "crop": 0.0}, "above 0 and up to 1, but got 0.0"),
        ({"size": 8, "crop": 1.01}, "up to 1, but got 1.01"),
        ({"size": 8, "crop": float("nan")}, "but got nan"),
        ({"size": 8, "crop": "1"}, "but got '1'"),
        ({"interpolation": "cubic"}, "bilinear, bicubic, nearest, lanczos, but got 'cubic'"),
        ({"mean": (float("inf"),)}, "finite number for mean"),
        ({"mean": ("x",)}, "finite number for mean, but got 'x'"),
        ({"mean": 0.5}, "list of numbers for mean, but got 0.5"),
        ({"std": (0.0,)}, "positive number for std, but got 0.0"),
    ],
)
def test_values_out_of_range_are_refused_wherever_they_stand(kind: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"crop": 0.9}, "image size beside crop_pct 0.9"),
        ({"mean": ()}, "1 value for mean, but got 0"),
        ({"mean": (0.1, 0.2), "channels": 1}, "1 value for mean, but got 2"),
        ({"std": (0.1, 0.2), "channels": 3}, "1 or 3 values for std, but got 2"),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Preprocessing(**values)


def test_only_grey_and_rgb_can_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="1 or 3 channels, but got 2"):
        PartialPreprocessing(channels=2)  # type: ignore[arg-type]
    assert Preprocessing(mean=(0.1, 0.2), channels=2).channels == 2  # tensors of one's own have what they have


def test_images_of_other_channels_are_refused() -> None:
    FULL.check_channels(3)
    Preprocessing().check_channels(7)
    with pytest.raises(DataError, match="one mean and std or 1 for images of 1 channels, but got 3 and 3"):
        FULL.check_channels(1)


@pytest.mark.parametrize("preprocessing", [FULL, Preprocessing(channels=1)])
def test_what_is_written_is_read_again(preprocessing: Preprocessing) -> None:
    written = json.loads(json.dumps(preprocessing.as_record()))
    assert list(written) == ["image_size", "mean", "std", "crop_pct", "interpolation"]
    channels = preprocessing.channels
    assert channels is not None
    assert Preprocessing.from_record(written, channels=channels) == preprocessing


def test_a_record_of_before_the_crop_has_none() -> None:
    old = {"image_size": 8, "mean": [0.1], "std": [0.2]}
    assert Preprocessing.from_record(old, channels=1) == Preprocessing(size=8, mean=(0.1,), std=(0.2,), channels=1)
    partial = PartialPreprocessing.from_record(old, channels=1)
    assert (partial.size, partial.crop, partial.interpolation) == (8, None, None)
    with pytest.raises(KeyError, match="std"):
        Preprocessing.from_record({"image_size": None, "mean": [0.1]}, channels=1)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_weights_are_read_and_would_be_written_alike(path: Path) -> None:
    with safe_open(path, "pt") as file:
        written = json.loads(file.metadata()["unlearnkit"])
    card = read_checkpoint(path).card
    assert card is not None
    later = {"crop_pct": 1.0, "interpolation": "bilinear"}
    assert card.as_record() == later | written


def test_grey_images_get_the_mean_of_three_channels() -> None:
    grey = FULL.as_wanted(1)
    assert grey.mean == (pytest.approx(0.4),)
    assert grey.std == (pytest.approx(0.5 / 3),)
    assert FULL.as_wanted().mean == FULL.as_wanted(3).mean == FULL.mean


HAND = PartialPreprocessing(size=16, mean=(0.1,))
WEIGHTS = PartialPreprocessing(size=32, crop=0.9, mean=(0.2,), std=(0.3, 0.3, 0.4))
DIGITS = Preprocessing(mean=(0.3,), std=(0.4,), channels=1)
PICTURES = Preprocessing(size=16, crop=0.9).for_pictures()
H, W, S, D = Origin.HAND, Origin.WEIGHTS, Origin.SOURCE, Origin.DEFAULT
TABLE: dict[str, tuple[list[Any], Preprocessing, tuple[Origin, ...], Preprocessing]] = {
    "pictures, nothing asked": ([], Preprocessing().for_pictures(), (D, D, D, D, D, D), Preprocessing().for_pictures()),
    "digits, nothing asked": ([], DIGITS, (D, D, D, S, S, S), DIGITS),
    "the first who asks is served": (
        [(H, HAND), (W, WEIGHTS)],
        PICTURES,
        (H, W, D, H, W, D),
        Preprocessing(size=16, crop=0.9, mean=(0.1,) * 3, std=(0.3, 0.3, 0.4), channels=3),
    ),
    "the source does otherwise": ([(H, HAND)], DIGITS, (D, D, D, H, S, S), Preprocessing(**{
        "mean": (0.1,), "std": (0.4,), "channels": 1,
    })),
    "channels nobody knows": (
        [(H, PartialPreprocessing(std=(1.0, 2.0)))],
        Preprocessing(),
        (D, D, D, D, H, S),
        Preprocessing(std=(1.0, 2.0)),
    ),
    "asked for what is the default": (
        [(H, PartialPreprocessing(interpolation="bilinear", channels=3, std=(0.25,)))],
        Preprocessing().for_pictures(),
        (D, D, H, D, H, H),
        Preprocessing().for_pictures(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_every_value_says_where_it_came_from(case: str) -> None:
    layers, source, origins, expected = TABLE[case]
    found, told = resolve(layers, source)
    assert found == expected
    assert told == dict(zip(("size", "crop", "interpolation", "mean", "std", "channels"), origins, strict=True))


def test_a_source_is_asked_for_all_but_the_normalisation() -> None:
    assert wanted_of([(H, HAND), (W, WEIGHTS)]) == Preprocessing(size=16, crop=0.9)
    with pytest.raises(ConfigError, match=r"image size beside crop_pct 0\.5"):
        wanted_of([(H, PartialPreprocessing(crop=0.5))])


def test_nothing_else_carries_these_fields() -> None:
    """No class of the package has them as fields of its own; who needs them holds a Preprocessing."""
    homes = [
        SOURCES / "data" / "preprocessing.py",
        SOURCES / "disk" / "artefacts.py",
        SOURCES / "compare" / "suite_parts.py",
    ]  # the last two: what a file may hold
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if path in homes or not isinstance(node, ast.ClassDef):
                continue
            names = {
                line.target.id
                for line in node.body
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
            }
            if names & {"crop_pct", "crop", "interpolation", "image_size"} or {"mean", "std"} <= names:
                found.append(f"{path.relative_to(SOURCES)}: {node.name}")
    assert not found


@pytest.mark.parametrize(
    ("mean", "std", "advice"),
    [
        (
            (123.675, 116.28, 103.53),
            (58.395, 57.12, 57.375),
            r"give --mean 0\.485,0\.456,0\.406 --std 0\.229,0\.224,0\.225",
        ),
        ((127.5,), (127.5,), r"give --mean 0\.5 --std 0\.5"),
        ((127.5,), None, r"give --mean 0\.5\."),
        ((123.675,), (1.0,), r"give --mean 0\.485 --std 0\.00392157"),
        ((123.675,), (0.229,), r"give --mean 0\.485\."),
        ((0.0,), (255.0,), r"give --std 1\."),
        (None, (58.395,), r"give --std 0\.229\."),
        ((-0.5,), (0.5,), "as the model was trained with them"),
        ((1000.0,), (0.5,), "as the model was trained with them"),
    ],
)
def test_normalisation_of_0_to_255_pixels_is_refused_with_the_divided_values(
    mean: tuple[float, ...] | None, std: tuple[float, ...] | None, advice: str
) -> None:
    with pytest.raises(ConfigError, match=advice):
        check_units([(Origin.HAND, PartialPreprocessing(mean=mean, std=std))])
    with pytest.raises(ConfigError, match="pixels are divided by 255"):  # a hub's configuration as well
        check_units([(Origin.HAND, PartialPreprocessing()), (Origin.ZOO, PartialPreprocessing(mean=mean, std=std))])


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (1, 1), (0, 1 / 255), (0.5, 0.5)])
def test_normalisation_of_0_to_1_pixels_is_taken(mean: float, std: float) -> None:
    check_units([(Origin.HAND, PartialPreprocessing(mean=(mean,), std=(std,)))])


def test_what_is_recorded_is_taken_as_it_is_and_what_is_given_by_hand_for_uint8_images_is_not() -> None:
    meant = PartialPreprocessing(mean=(123.0,), std=(58.0,))
    check_units([(Origin.RECORD, meant), (Origin.WEIGHTS, meant)])
    check_units([(Origin.HAND, PartialPreprocessing(mean=(0.5,), std=(0.5,))), (Origin.ZOO, meant)])
    with pytest.raises(ConfigError, match=r"give --mean 0\.482353 --std 0\.227451\."):
        load_data("digits", mean=(123.0,), std=(58.0,))
