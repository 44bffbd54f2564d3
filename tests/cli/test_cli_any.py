"""The command line with foreign weights, class lists, image folders, trackers; and what it refuses of them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from canonical import CLASSES
from commands import FAST, Outcome, assert_refused, run_cli
from pictures_on_disk import picture
from trained_once import TINY
from unlearnkit.models import SmallCNN, build_model

TINY_TRAIN = ("--device", "cpu", "--set", "epochs=1", "--set", "batch_size=14")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("pictures")
    for side, count in (("train", 8), ("test", 2)):
        for k, name in enumerate(CLASSES):
            (where / side / name).mkdir(parents=True)
            for i in range(count):
                picture(k, i).save(where / side / name / f"{i}.png")
    return where


def train(folder: Path, out: Path, *args: object, model: str = TINY) -> Outcome:
    return run_cli("train", "--model", model, "--data", f"imagefolder:{folder}", "--out", out, *TINY_TRAIN, *args)


def forget(folder: Path, weights: object, out: Path, *args: object) -> Outcome:
    data = f"imagefolder:{folder}"
    return run_cli("forget", "--weights", weights, "--data", data, "--out", out, "--no-audit", *FAST, *args)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_a_state_dict_of_another_tool_is_made_to_forget(folder: Path, tmp_path: Path, suffix: str) -> None:
    model = SmallCNN(4, 3, width=4)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / f"theirs{suffix}")
    untrained = ("--model", TINY, "--trust-inputs")
    done = forget(folder, tmp_path / f"theirs{suffix}", tmp_path / "run", *untrained, "--forget", "cat")
    assert done.code == 0, done.err
    assert load_file(tmp_path / "run" / "model.safetensors").keys() == model.state_dict().keys()


def test_a_pickled_model_is_refused_with_the_way_out(folder: Path, tmp_path: Path) -> None:
    torch.save(SmallCNN(4, 3, width=4), tmp_path / "whole.pt")
    done = forget(folder, tmp_path / "whole.pt", tmp_path / "run", "--model", TINY, "--forget", "cat")
    assert_refused(done, "safetensors")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_class_list_in_a_file_names_the_outputs(folder: Path, tmp_path: Path) -> None:
    """The model knows a fifth class, first in its list, of which the folder has no images."""
    torch.save(SmallCNN(5, 3, width=4).state_dict(), tmp_path / "theirs.pt")
    (tmp_path / "classes.txt").write_text("aardvark\nant\nbee\ncat\ndog\n")
    weights, classes = tmp_path / "theirs.pt", ("--classes", tmp_path / "classes.txt", "--trust-inputs")
    done = forget(folder, weights, tmp_path / "run", "--model", TINY, "--forget", "cat", *classes)
    assert done.code == 0, done.err
    request = json.loads((tmp_path / "run" / "request.json").read_text())
    assert request["forget_ids"] == [3]
    done = forget(folder, weights, tmp_path / "gone", "--model", TINY, "--forget", "aardvark", *classes)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "gone" / "request.json").read_text())["forget_ids"] == [0]


@pytest.mark.parametrize("text", [None, "", "ant\nant\n"])
def test_a_class_list_that_is_none_is_refused(folder: Path, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "classes.txt").write_text(text)
    done = forget(
        folder, "none.safetensors", tmp_path / "run", "--forget", "cat", "--classes", tmp_path / "classes.txt"
    )
    assert_refused(done, "class names")


def test_training_goes_on_from_other_classes_with_a_fresh_head(folder: Path, tmp_path: Path) -> None:
    before = SmallCNN(9, 3, width=4)
    torch.save(before.state_dict(), tmp_path / "nine.pt")
    done = train(folder, tmp_path / "run", "--init", tmp_path / "nine.pt", "--set", "lr=1e-6")
    assert done.code == 0, done.err
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert after["head.weight"].shape[0] == 4
    torch.testing.assert_close(after["features.0.weight"], before.state_dict()["features.0.weight"], atol=1e-3, rtol=0)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["fresh"] == ["head.weight", "head.bias"]


def test_published_weights_cannot_be_had_offline(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # what HF_HUB_OFFLINE and HF_HOME set where the hub's library is not loaded yet; here it would ask the network
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    done = train(folder, tmp_path / "run", "--pretrained", model="timm:mobilenetv2_050")
    assert_refused(done, "offline")
    assert not (tmp_path / "run").exists()
    assert_refused(train(folder, tmp_path / "run", "--pretrained", "--init", "x.pt"), "--init or --pretrained")
    assert_refused(forget(folder, "hf-hub:nobody/nothing", tmp_path / "run", "--forget", "cat"), "offline")


def test_a_vit_of_fixed_size_gets_its_images_resized(folder: Path, tmp_path: Path) -> None:
    vit = "timm:vit_tiny_patch16_224,img_size=48,embed_dim=16,depth=1,num_heads=2"
    done = train(folder, tmp_path / "run", model=vit)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["shape"] == [3, 48, 48]


def test_losses_go_to_tensorboard(folder: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = train(folder, tmp_path / "run", "--track", "tensorboard")
    assert done.code == 0, done.err
    events = next((tmp_path / "tracking" / "run").rglob("events.out.tfevents.*"))
    recorded = EventAccumulator(str(events)).Reload()
    losses = [event.value for event in recorded.Scalars("train/loss")]
    assert losses == pytest.approx(json.loads((tmp_path / "run" / "history.json").read_text())["train"], rel=1e-5)


def test_a_tracker_that_is_not_installed_is_named(folder: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("mlflow"):
        pytest.skip("mlflow is installed here")
    assert_refused(train(folder, tmp_path / "run", "--track", "mlflow"), "mlflow", "pip install")
    assert not (tmp_path / "run").exists()


def test_an_absurd_image_size_is_refused_before_memory_runs_out(folder: Path, tmp_path: Path) -> None:
    done = train(folder, tmp_path / "run", "--image-size", "100000000")
    assert_refused(done, "image size from 1 to 8192", "100000000")
    assert not (tmp_path / "run").exists()


def test_grey_images_are_asked_for(folder: Path, tmp_path: Path) -> None:
    done = train(folder, tmp_path / "grey", "--channels", "1")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "grey" / "config.json").read_text())["shape"] == [1, 32, 32]
    # and are given without asking to weights that were made for them
    done = forget(folder, tmp_path / "grey" / "model.safetensors", tmp_path / "run", "--forget", "cat")
    assert done.code == 0, done.err
    assert_refused(train(folder, tmp_path / "four", "--channels", "4"), "1 or 3")


def test_an_empty_class_folder_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "eel").mkdir()
    try:
        assert_refused(train(folder, tmp_path / "run"), "eel")
    finally:
        (folder / "train" / "eel").rmdir()


def test_the_models_are_listed() -> None:
    done = run_cli("models", "mobilenetv2_05")
    assert done.out.split() == ["timm:mobilenetv2_050"]
    names = run_cli("models", "--json")
    listed = json.loads(names.out)
    assert {"airbench", "resnet18-cifar", "torchvision:resnet18", "timm:resnet18"} <= set(listed)


@pytest.mark.slow
def test_the_fast_network_is_initialised_from_retained_images_alone(folder: Path, tmp_path: Path) -> None:
    states = []
    for name, args in (("all", ()), ("without", ("--exclude", "cat"))):
        done = train(folder, tmp_path / name, *args, "--set", "lr=1e-9", model="airbench")
        assert done.code == 0, done.err
        states.append(load_file(tmp_path / name / "model.safetensors"))
        access = json.loads((tmp_path / name / "access.json").read_text())
        assert access["parts"].get("excluded_train", {}).get("cat", {}).get("decoded", 0) == 0
    stem = states[0]["stem.weight"]
    assert not torch.equal(stem, states[1]["stem.weight"])
    assert torch.equal(stem[: len(stem) // 2], -stem[len(stem) // 2 :])  # each filter and its negative


def test_whitening_makes_patches_white() -> None:
    torch.manual_seed(0)
    model = build_model("airbench", num_classes=4, in_channels=3)
    mixing = torch.eye(3) + 0.2 * torch.randn(3, 3)  # far from singular: directions of tiny variance are left small
    images = torch.einsum("dc,nchw->ndhw", mixing, torch.randn(64, 3, 32, 32))
    model.initialise(images)  # type: ignore[operator]
    answers = model.stem(images).detach()[:, :12]  # type: ignore[operator]
    flat = answers.transpose(0, 1).flatten(1)
    torch.testing.assert_close(flat @ flat.T / flat.shape[1], torch.eye(12), atol=0.02, rtol=0)
