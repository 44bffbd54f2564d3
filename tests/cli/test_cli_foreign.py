"""Weights of another tool through the command line: what was left out is said, and the audit reads the same again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from commands import WEIGHTS, assert_refused, run_cli
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import read_checkpoint

MODEL = "timm:test_resnet"


@pytest.fixture
def two_sets(tmp_path: Path) -> Path:
    """A checkpoint as torchvision's reference training writes it, with an average of the weights."""
    torch.manual_seed(0)
    first, second = (build_model(MODEL, num_classes=4, in_channels=3) for _ in range(2))
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"model": first.state_dict(), "model_ema": AveragedModel(second).state_dict(), "epoch": 3}, path)
    return path


def options(weights: Path, data: Path, out: Path) -> list[Any]:
    return [
        "--weights", weights, "--data", f"parquet:{data}", "--model", MODEL, "--image-size", 32, "--forget", "red",
        "--method", "head-mask", "--device", "cpu", "--no-audit", "--trust-inputs", "--out", out,
    ]  # fmt: skip


@pytest.mark.slow
def test_one_of_two_sets_is_forgotten_and_audited(
    two_sets: Path, parquet_folder: Callable[..., Path], tmp_path: Path
) -> None:
    given = options(two_sets, parquet_folder(per_class=8), tmp_path / "out")
    assert_refused(run_cli("forget", *given), "several (model, model_ema)", "--weights-key model.")
    assert not (tmp_path / "out").exists()
    done = run_cli("forget", *given, "--weights-key", "model_ema")
    assert done.code == 0, done.err
    assert "read under the key model_ema, the prefix module. taken off, left out n_averaged" in done.out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["weights_key"] == "model_ema"
    assert "n_averaged" in config["weights_note"]
    new = read_checkpoint(tmp_path / "out" / WEIGHTS).state
    old = read_checkpoint(two_sets, "model_ema").state
    first = next(iter(new))
    assert torch.equal(new[first], old[f"module.{first}"])
    again = run_cli("audit", tmp_path / "out", "--quick", "--device", "cpu")
    assert again.code == 0, again.err


@pytest.mark.slow
def test_grey_weights_read_grey_images(parquet_folder: Callable[..., Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(build_model(MODEL, num_classes=4, in_channels=1).state_dict(), tmp_path / "grey")
    data = parquet_folder(per_class=8)
    done = run_cli("forget", *options(tmp_path / "grey", data, tmp_path / "out"))
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["shape"] == [1, 32, 32]
    assert len(config["mean"]) == 1
    refused = run_cli("forget", *options(tmp_path / "grey", data, tmp_path / "b"), "--channels", 3)
    assert_refused(refused, "takes 1 channels, but it is given 3: give --channels 1")


@pytest.mark.slow
def test_a_class_list_is_asked_for_where_the_head_is_wider(parquet_folder: Callable[..., Path], tmp_path: Path) -> None:
    torch.save(build_model(MODEL, num_classes=12, in_channels=3).state_dict(), tmp_path / "wide.th")
    given = options(tmp_path / "wide.th", parquet_folder(per_class=8), tmp_path / "out")
    assert_refused(run_cli("forget", *given), "12 outputs, but there are 4 classes: give --classes FILE")
    (tmp_path / "classes.txt").write_text("\n".join([*(f"other{k}" for k in range(8)), "grey", "blue", "red", "green"]))
    done = run_cli("forget", *given, "--classes", tmp_path / "classes.txt")
    assert done.code == 0, done.err
