"""Case: weights, data, request and split are opened once, in one order; its data says who decided how it is fed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import WEIGHTS
from pictures_on_disk import picture
from unlearnkit.data.preprocessing import Origin, PartialPreprocessing, Preprocessing
from unlearnkit.errors import ConfigError, DataError, ModelError, RequestError
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import Checkpoint, checkpoint_bytes, read_checkpoint
from unlearnkit.models.hub import WeightsSource
from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.preprocessing import own_preprocessing
from unlearnkit.split import Part, Split
from unlearnkit.steps.case import Case
from unlearnkit.steps.opening import InputOptions, load_images, stand_ins_for
from unlearnkit.steps.specs import CaseSpec

ZOO = "timm:resnet10t"  # 176 pixels, a crop of 0.875, bicubic
FIXED = "timm:vit_tiny_patch16_224"
COLOURS = ("red", "green", "blue", "grey")
CARD = ModelCard(
    model="small-cnn",
    classes=COLOURS,
    forgotten=("grey",),
    shape=(3, 10, 10),
    preprocessing=Preprocessing(
        size=10, crop=0.5, interpolation="nearest", mean=(0.1, 0.2, 0.3), std=(0.5,) * 3, channels=3
    ),
)
H, R, W, Z, S, D = (
    Origin.HAND, Origin.RECORD, Origin.WEIGHTS, Origin.ZOO, Origin.SOURCE, Origin.DEFAULT,
)  # fmt: skip


def weights_of(card: ModelCard | None) -> Checkpoint:
    return Checkpoint(path=Path("w"), state={}, card=card, sha256="")


BY_HAND = InputOptions.by_hand(size=9, mean=(0.5,), channels=1)
FOLDER = InputOptions.recorded({"image_size": 12, "mean": [0.1] * 3, "std": [0.2] * 3, "shape": [3, 12, 12]}, COLOURS)
# weights, options, model, pretrained -> origins of size, crop, interpolation, mean, std, channels
ORIGINS = {
    "training": (None, InputOptions(), "small-cnn", False, (D, D, D, D, D, D)),
    "training, by hand": (None, BY_HAND, "small-cnn", False, (H, D, D, H, D, H)),
    "training a model of a zoo": (None, InputOptions(), ZOO, False, (D, D, D, D, D, D)),
    "training one that takes one size": (None, InputOptions(), FIXED, False, (Z, D, D, D, D, D)),
    "training, pretrained": (None, InputOptions(), ZOO, True, (Z, Z, Z, Z, Z, D)),
    "training, pretrained, by hand": (None, BY_HAND, ZOO, True, (H, D, Z, H, Z, H)),
    "weights with a card": (CARD, InputOptions(), "small-cnn", False, (W, W, W, W, W, W)),
    "weights with a card, by hand": (CARD, BY_HAND, "small-cnn", False, (H, D, W, H, W, H)),
    "weights of a zoo, no card": ("none", InputOptions(), ZOO, False, (Z, Z, Z, Z, Z, D)),
    "weights of a zoo, no card, a size by hand": (
        "none", InputOptions.by_hand(size=32), ZOO, False, (H, D, Z, Z, Z, D),
    ),
    "weights of a zoo, no card, its own size by hand": (
        "none", InputOptions.by_hand(size=176), ZOO, False, (H, Z, Z, Z, Z, D),
    ),
    "weights of a zoo, no card, size and crop by hand": (
        "none", InputOptions.by_hand(size=32, crop=0.9, interpolation="nearest"), ZOO, False, (H, H, H, Z, Z, D),
    ),
    "weights, no card": ("none", InputOptions(classes=COLOURS), "small-cnn", False, (D, D, D, D, D, D)),
    "run folder": (CARD, FOLDER, "small-cnn", False, (R, W, W, R, R, R)),
    "run folder, no card": ("none", FOLDER, ZOO, False, (R, D, D, R, R, R)),
}  # fmt: skip


@pytest.mark.parametrize("name", ORIGINS)
def test_the_data_says_who_decided(name: str, parquet_folder: Callable[..., Path]) -> None:
    card, options, model, pretrained, origins = ORIGINS[name]
    checkpoint = None if card is None else weights_of(None if isinstance(card, str) else card)
    data = load_images(f"parquet:{parquet_folder()}", checkpoint, options, model=model, pretrained=pretrained)
    told = dict(zip(("size", "crop", "interpolation", "mean", "std", "channels"), origins, strict=True))
    assert dict(data.origins) == told
    own = own_preprocessing(ZOO)
    assert own is not None
    values = {
        H: options.wanted, R: options.wanted, W: CARD.preprocessing, Z: own.preprocessing, D: Preprocessing(channels=3),
    }  # fmt: skip
    for field in ("size", "crop", "interpolation"):
        if origins[0] is not Z or model != FIXED:
            assert getattr(data.preprocessing, field) == getattr(values[told[field]], field), field


def test_digits_say_that_their_normalisation_is_their_own() -> None:
    origins = load_images("digits", None).origins
    assert [name for name, origin in origins.items() if origin is S] == ["mean", "std", "channels"]


def test_stand_ins_are_fed_as_the_data_is(parquet_folder: Callable[..., Path]) -> None:
    source = f"parquet:{parquet_folder()}"
    data = load_images(source, weights_of(CARD))
    data.fix_shape(0)
    others = stand_ins_for(data, source)
    assert others.preprocessing == data.preprocessing
    assert others.classes == COLOURS


@pytest.fixture
def trained(parquet_folder: Callable[..., Path], tmp_path: Path) -> tuple[str, Path]:
    """Data, and weights of a network for it that has forgotten a class."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(checkpoint_bytes(SmallCNN(4, 3), CARD))
    return f"parquet:{parquet_folder()}", path


def test_a_case_is_all_that_a_step_works_on(trained: tuple[str, Path]) -> None:
    data, weights = trained
    spec = CaseSpec(weights=weights, data=data, forget=("red",), already_forgotten=(1,))
    case = Case.opened(spec, reader="the test")
    assert (case.architecture, case.classes) == ("small-cnn", COLOURS)
    assert case.request.already_forgotten == ("green", "grey")  # given, and recorded with the weights
    assert case.split.request.forget_names == ("red",)
    assert case.data.shape == (3, 10, 10)
    assert case.data.preprocessing == CARD.preprocessing
    assert not case.data.train.decoded.any()
    assert case.source == WeightsSource(path=weights)
    state = case.checkpoint.state
    assert not case.model.training
    assert all(torch.equal(value, state[key]) for key, value in case.model.state_dict().items())
    again = case.with_weights(read_checkpoint(weights))
    assert again is not case.model
    fresh = case.fresh()
    assert not torch.equal(fresh.head.weight, case.model.head.weight)
    assert fresh.head.weight.shape == case.model.head.weight.shape


def test_the_check_comes_before_any_image(trained: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data, weights = trained
    seen: list[Split] = []

    def refuse(split: Split) -> None:
        seen.append(split)
        raise DataError("refused")

    monkeypatch.setattr("unlearnkit.steps.case.open_model", lambda *_: pytest.fail("the model was built"))
    monkeypatch.setattr("unlearnkit.steps.case.retained_shape", lambda *_: pytest.fail("an image was looked at"))
    with pytest.raises(DataError, match="refused"):
        Case.opened(CaseSpec(weights=weights, data=data, forget=("red",)), reader="x", check=refuse)
    assert len(seen[0][Part.FORGET_TRAIN]) == 40


def test_what_was_read_already_is_not_read_again(trained: tuple[str, Path]) -> None:
    data, weights = trained
    checkpoint = read_checkpoint(weights)
    spec = CaseSpec(weights="gone", data=data, forget=("red",))
    case = Case.opened(spec, reader=None, source=WeightsSource(path=weights), checkpoint=checkpoint)
    assert case.checkpoint is checkpoint


def test_a_case_that_does_not_fit_is_refused(trained: tuple[str, Path], tmp_path: Path) -> None:
    data, weights = trained

    def opened(spec: CaseSpec) -> Case:
        return Case.opened(spec, reader="the test")

    spec = CaseSpec(weights=weights, data=data, forget=("red",))
    with pytest.raises(RequestError, match="already forgotten"):
        opened(replace(spec, forget=("grey",)))
    with pytest.raises(ConfigError, match=r"mean \(0.1, 0.2, 0.3\).*leave --mean and --std out"):
        opened(replace(spec, inputs=InputOptions.by_hand(mean=(0.5,))))
    with pytest.raises(ConfigError, match="resize them with --image-size 10"):
        opened(replace(spec, inputs=InputOptions(wanted=PartialPreprocessing(size=12))))
    evil = tmp_path / "evil.safetensors"
    evil.write_bytes(checkpoint_bytes(SmallCNN(4, 3), replace(CARD, model="a.b:c")))
    with pytest.raises(ModelError, match=r"add --model a\.b:c"):
        opened(replace(spec, weights=evil))


def test_digits_without_a_retained_image_need_no_reader(digits_run: Path) -> None:
    spec = CaseSpec(weights=digits_run / WEIGHTS, data="digits", forget=("3",), model="small-cnn")
    assert Case.opened(spec, reader=None).data.shape == (1, 8, 8)


def test_size_mean_and_std_by_hand_are_what_a_network_of_a_zoo_gets(tmp_path: Path) -> None:
    """A 32-pixel network under a zoo's name: the pictures arrive as plain torch would feed them, nothing cut off."""
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    for side in ("train", "test"):
        for class_id, name in enumerate(("a", "b")):
            (tmp_path / side / name).mkdir(parents=True)
            picture(class_id, 0).save(tmp_path / side / name / "0.png")
    options = InputOptions.by_hand(size=32, mean=mean, std=std)
    data = load_images(f"imagefolder:{tmp_path}", weights_of(None), options, model="torchvision:resnet18")
    data.fix_shape(0)
    fed = data.normalise(data.train.images(torch.tensor([0, 1]), torch.device("cpu")))
    for class_id in (0, 1):
        plain = torch.from_numpy(np.asarray(picture(class_id, 0)).copy()).permute(2, 0, 1).float() / 255
        plain = (plain - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        torch.testing.assert_close(fed[class_id], plain)
