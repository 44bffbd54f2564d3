"""Weights files: exact round trips, and every damaged file as a named error."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor, nn

from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.errors import WeightsError
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import checkpoint_bytes, file_sha256, read_checkpoint
from unlearnkit.models.metadata import ModelCard

CARD = ModelCard(
    model="small-cnn",
    classes=("été", "cat, dog", '"quoted"'),
    forgotten=("cat, dog",),
    shape=(1, 8, 8),
    preprocessing=Preprocessing(mean=(0.1,), std=(0.2,), channels=1),
)


class Assorted(nn.Module):
    """Parameters and buffers of many kinds, with values that are easily lost."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.1, -0.0], [1e-42, 3.4e38]]))
        self.half_ = nn.Parameter(torch.tensor([1.5, 6e-8], dtype=torch.float16))
        self.brain = nn.Parameter(torch.randn(3, generator=torch.Generator().manual_seed(0)).bfloat16())
        self.double_ = nn.Parameter(torch.tensor(1 / 3, dtype=torch.float64))
        self.turned = nn.Parameter(torch.arange(6.0).reshape(2, 3).t())
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("count", torch.tensor([2**53 + 1, -1]))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("bytes_", torch.arange(4, dtype=torch.uint8))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("attention", torch.tensor([0.0, float("-inf")]))


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    plain = tensor.detach().contiguous()
    return plain.dtype, tuple(plain.shape), plain.view(-1).view(torch.uint8).numpy().tobytes()


def write(tmp_path: Path, model: nn.Module | None = None, card: ModelCard = CARD) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(checkpoint_bytes(model or SmallCNN(3), card))
    return path


def test_a_round_trip_is_bitwise_exact_with_buffers_and_integers(tmp_path: Path) -> None:
    model = Assorted()
    model.norm.running_mean += 0.3
    model.norm.num_batches_tracked += 7
    checkpoint = read_checkpoint(write(tmp_path, model))
    fresh = Assorted()
    with torch.no_grad():
        for value in (*fresh.parameters(), *fresh.buffers()):
            value.zero_()
    checkpoint.load_into(fresh)
    wanted, got = model.state_dict(), fresh.state_dict()
    assert wanted.keys() == got.keys() == checkpoint.state.keys()
    assert {k: bits(v) for k, v in got.items()} == {k: bits(v) for k, v in wanted.items()}


def test_the_card_and_the_hash_come_back(tmp_path: Path) -> None:
    path = write(tmp_path)
    checkpoint = read_checkpoint(str(path))
    assert checkpoint.card == CARD
    assert checkpoint.path == path
    assert checkpoint.sha256 == file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_weights_make_the_same_file() -> None:
    model = SmallCNN(3)
    assert checkpoint_bytes(model, CARD) == checkpoint_bytes(model, CARD)


def test_saving_leaves_the_model_alone_and_shares_nothing_with_it(tmp_path: Path) -> None:
    model = SmallCNN(3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    checkpoint = read_checkpoint(write(tmp_path, model))
    with torch.no_grad():
        model.head.weight.add_(1)
    assert torch.equal(checkpoint.state["head.weight"], before["head.weight"])


def test_tied_weights_are_stored_under_both_names(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    state = read_checkpoint(write(tmp_path, model)).state
    assert torch.equal(state["0.weight"], state["1.weight"])


def test_weights_of_another_tool_have_no_card(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert read_checkpoint(tmp_path / "w.safetensors").card is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("head.bias"), ["missing: head.bias"]),
        (lambda s: s.update(extra=torch.ones(1)), ["unexpected: extra"]),
        (lambda s: s.update({"head.bias": torch.ones(5)}), ["of another shape: head.bias (5,) instead of (3,)"]),
        (
            lambda s: [s.pop("head.bias"), s.update(extra=torch.ones(1))],
            ["missing: head.bias", "unexpected: extra", "--model"],
        ),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("features")], ["and 13 more"]),
    ],
)
def test_weights_that_do_not_fit_name_the_keys(tmp_path: Path, change: Any, words: list[str]) -> None:
    model = SmallCNN(3)
    state = dict(model.state_dict())
    change(state)
    path = tmp_path / "w.safetensors"
    path.write_bytes(save(state))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(path).load_into(model)
    assert all(word in str(caught.value) for word in (*words, str(path))), str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is none"):
        read_checkpoint(tmp_path / "nothing.safetensors")
    with pytest.raises(WeightsError, match="there is none"):
        read_checkpoint(tmp_path / ("n" * 400))
    with pytest.raises(WeightsError, match="there is a folder; name the file in it"):
        read_checkpoint(tmp_path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for keep in (0, 7, 8, header // 2, header, header + 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(
            WeightsError, match=r"complete safetensors file, but .*cannot be read|is (empty|broken, cut short)"
        ):
            read_checkpoint(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=80))
def test_any_bytes_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "metadata",
    [
        "{",
        "null",
        "[]",
        "3",
        '"text"',
        "{}",
        json.dumps({k: v for k, v in CARD.as_record().items() if k != "classes"}),
        json.dumps(CARD.as_record() | {"model": 5}),
        json.dumps(CARD.as_record() | {"classes": "abc"}),
        json.dumps(CARD.as_record() | {"classes": []}),
        json.dumps(CARD.as_record() | {"classes": ["a", "a"], "forgotten": []}),
        json.dumps(CARD.as_record() | {"classes": [1, 2], "forgotten": []}),
        json.dumps(CARD.as_record() | {"forgotten": ["nobody"]}),
        json.dumps(CARD.as_record() | {"forgotten": None}),
        json.dumps(CARD.as_record() | {"forgotten": [["a"]]}),
        json.dumps(CARD.as_record() | {"shape": [1, 8]}),
        json.dumps(CARD.as_record() | {"shape": [1, 8, -8]}),
        json.dumps(CARD.as_record() | {"shape": ["1", 8, 8]}),
        json.dumps(CARD.as_record() | {"image_size": "8"}),
        json.dumps(CARD.as_record() | {"mean": ["x"]}),
        json.dumps(CARD.as_record() | {"std": 1.0}),
        json.dumps(CARD.as_record() | {"crop_pct": 0}),
        json.dumps(CARD.as_record() | {"crop_pct": 1.5}),
        json.dumps(CARD.as_record() | {"crop_pct": "1"}),
        json.dumps(CARD.as_record() | {"crop_pct": None}),
        json.dumps(CARD.as_record() | {"interpolation": "best"}),
        json.dumps(CARD.as_record() | {"interpolation": ["bilinear"]}),
    ],
)
def test_a_damaged_card_is_refused(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(1)}, path, metadata={"unlearnkit": metadata})
    with pytest.raises(WeightsError, match=r"model card in .*w\.safetensors .*is damaged"):
        read_checkpoint(path)


def test_a_card_may_hold_a_size_and_nothing_forgotten(tmp_path: Path) -> None:
    card = replace(CARD, preprocessing=replace(CARD.preprocessing, size=8), forgotten=())
    assert read_checkpoint(write(tmp_path, card=card)).card == card


def test_a_card_of_before_the_crop_was_recorded_has_its_defaults(tmp_path: Path) -> None:
    old = {key: value for key, value in CARD.as_record().items() if key not in ("crop_pct", "interpolation")}
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors", metadata={"unlearnkit": json.dumps(old)})
    assert read_checkpoint(tmp_path / "w.safetensors").card == CARD
    assert (CARD.preprocessing.crop, CARD.preprocessing.interpolation) == (1.0, "bilinear")


def test_crop_and_interpolation_come_back(tmp_path: Path) -> None:
    fed = replace(CARD.preprocessing, size=8, crop=0.875, interpolation="bicubic")
    card = replace(CARD, preprocessing=fed)
    assert read_checkpoint(write(tmp_path, card=card)).card == card
