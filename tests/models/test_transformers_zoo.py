"""Classifiers of transformers: a folder of `save_pretrained` goes in, one that `from_pretrained` loads comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from commands import WEIGHTS, assert_refused, run_cli
from unlearnkit.errors import ModelError, WeightsError
from unlearnkit.models import build_model, is_import_path, is_trusted_name
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.hub import resolve_weights
from unlearnkit.models.transformers_zoo import processor_of

transformers = pytest.importorskip("transformers")

NAMES = ("grey", "red", "blue", "green")  # not the order of the data's folders
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViT", {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
                    "image_size": 16, "patch_size": 8}),
    "deit": ("DeiT", {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
                      "image_size": 16, "patch_size": 8}),
    "swin": ("Swin", {"image_size": 16, "patch_size": 2, "embed_dim": 4, "depths": [1, 1], "num_heads": [1, 1],
                      "window_size": 2}),
    "convnext": ("ConvNext", {"num_stages": 2, "hidden_sizes": [4, 8], "depths": [1, 1], "patch_size": 2}),
    "resnet": ("ResNet", {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}),
}  # fmt: skip


def saved(kind: str, folder: Path, *, names: tuple[str, ...] = NAMES, **processor: Any) -> nn.Module:
    """Write a small model and its image processor as their authors do."""
    torch.manual_seed(0)
    family, options = SMALL[kind]
    config = getattr(transformers, f"{family}Config")(
        **options, id2label=dict(enumerate(names)), label2id={name: k for k, name in enumerate(names)}
    )
    model: nn.Module = getattr(transformers, f"{family}ForImageClassification")(config).eval()
    model.save_pretrained(folder)  # type: ignore[operator]
    given = processor or {"size": {"height": 16, "width": 16}, "image_mean": [0.4] * 3, "image_std": [0.2] * 3}
    transformers.ViTImageProcessor(**given).save_pretrained(folder)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_a_folder_says_all_about_its_model(tmp_path: Path, kind: str) -> None:
    source = saved(kind, tmp_path / "m")
    found = resolve_weights(str(tmp_path / "m"))
    assert found == resolve_weights(f"transformers:{tmp_path / 'm'}")
    assert (found.classes, found.num_classes) == (NAMES, 4)
    assert found.preprocessing is not None
    fed = found.preprocessing.preprocessing
    assert (fed.size, fed.crop, fed.interpolation, fed.mean) == (16, 1.0, "bilinear", (0.4,) * 3)
    assert found.model is not None
    model = build_model(found.model, num_classes=4, in_channels=3)
    read_checkpoint(found.path).load_into(model)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model.eval()(images).logits, source(images).logits)
    assert build_model(found.model, num_classes=7, in_channels=3)(images).logits.shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_forgetting_writes_a_folder_that_transformers_loads(
    tmp_path: Path, kind: str, parquet_folder: Callable[..., Path]
) -> None:
    source = saved(kind, tmp_path / "m")
    data, out = f"parquet:{parquet_folder()}", tmp_path / "out"
    plain = ["--data", data, "--method", "head-mask", "--device", "cpu", "--no-audit", "--trust-inputs"]
    done = run_cli("forget", "--model", f"transformers:{tmp_path / 'm'}", "--forget", "red", *plain, "--out", out)
    assert done.code == 0, done.err
    model = transformers.AutoModelForImageClassification.from_pretrained(out / "transformers").eval()
    assert tuple(model.config.id2label[k] for k in range(4)) == NAMES
    images = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        before, after = source(images).logits, model(images).logits
    assert torch.allclose(before[:, [0, 2, 3]], after[:, [0, 2, 3]], atol=1e-6)
    assert bool((after.argmax(dim=1) != 1).all())
    processor = transformers.AutoImageProcessor.from_pretrained(out / "transformers")
    assert list(processor.image_mean) == [0.4] * 3
    assert processor_of(str(out / "transformers")) == processor_of(str(tmp_path / "m"))
    card = read_checkpoint(out / "transformers" / WEIGHTS).card
    assert card is not None
    assert card.forgotten == ("red",)
    assert "from_pretrained" in (out / "README.md").read_text()
    assert run_cli("verify", out).code == 0
    (out / "transformers" / "config.json").write_text("{}")
    assert run_cli("verify", out).code != 0


@pytest.mark.slow
def test_the_folder_that_was_written_can_forget_again(tmp_path: Path, parquet_folder: Callable[..., Path]) -> None:
    saved("resnet", tmp_path / "m")
    plain = [
        "--data",
        f"parquet:{parquet_folder()}",
        "--method",
        "head-mask",
        "--device",
        "cpu",
        "--no-audit",
        "--trust-inputs",
    ]
    first = run_cli("forget", "--weights", tmp_path / "m", "--forget", "red", *plain, "--out", tmp_path / "a")
    assert first.code == 0, first.err
    again = ["--weights", tmp_path / "a" / "transformers", "--forget", "blue", *plain]
    second = run_cli("forget", *again, "--out", tmp_path / "b")
    assert second.code == 0, second.err
    request = json.loads((tmp_path / "b" / "request.json").read_text())
    assert request["already_forgotten"] == ["red"]


PROCESSORS: dict[str, tuple[str, dict[str, Any], tuple[int | None, float, str]]] = {
    "resized": ("ViT", {"size": {"height": 32, "width": 32}, "resample": 3}, (32, 1.0, "bicubic")),
    "cut": (
        "DeiT", {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}}, (32, 0.8, "bicubic")),
    "shortest edge": (
        "Bit", {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (224, 0.875, "bicubic")
    ),
    "convnext": ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 0.875, "bicubic")),
    "convnext, whole pixels": (
        "ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.875}, (32, 32 / 36, "bicubic")),
    "convnext, large": ("ConvNext", {"size": {"shortest_edge": 384}}, (384, 1.0, "bicubic")),
    "as they are": ("ViT", {"do_resize": False}, (None, 1.0, "bilinear")),
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
def test_image_processors_are_read(tmp_path: Path, name: str) -> None:
    kind, options, wanted = PROCESSORS[name]
    saved("resnet", tmp_path)
    getattr(transformers, f"{kind}ImageProcessor")(**options).save_pretrained(tmp_path)
    fed = processor_of(str(tmp_path))
    assert fed is not None
    assert (fed.size, fed.crop, fed.interpolation) == wanted


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("ViT", {"do_rescale": False}, "do_rescale False"),
        ("ViT", {"rescale_factor": 1.0}, r"rescale_factor is 1\.0"),
        ("ViT", {"size": {"height": 16, "width": 32}}, "16 x 32"),
        ("Bit", {"do_center_crop": False}, "aspect ratio"),
        ("EfficientNet", {}, "EfficientNetImageProcessor"),
    ],
)
def test_image_processors_that_do_more_are_refused(
    tmp_path: Path, kind: str, options: dict[str, Any], words: str
) -> None:
    saved("resnet", tmp_path)
    getattr(transformers, f"{kind}ImageProcessor")(**options).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=words):
        resolve_weights(str(tmp_path))


def test_what_is_missing_is_named(tmp_path: Path, parquet_folder: Callable[..., Path]) -> None:
    saved("resnet", tmp_path / "m")
    (tmp_path / "m" / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="how images were fed"):
        resolve_weights(str(tmp_path / "m"))
    saved("resnet", tmp_path / "n", names=("LABEL_0", "LABEL_1"))
    assert resolve_weights(str(tmp_path / "n")).classes is None
    (tmp_path / "n" / WEIGHTS).rename(tmp_path / "n" / "model.safetensors.index.json")
    with pytest.raises(WeightsError, match="several shards"):
        resolve_weights(str(tmp_path / "n"))
    with pytest.raises(ModelError, match="there is no folder"):
        build_model(f"transformers:{tmp_path}/none", num_classes=2, in_channels=3)
    refused = run_cli("forget", "--data", f"parquet:{parquet_folder()}", "--forget", "red", "--out", tmp_path / "o")
    assert_refused(refused, "give --weights FILE")


def test_code_of_a_models_author_is_never_run(tmp_path: Path) -> None:
    saved("resnet", tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'trap')!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((tmp_path / "config.json").read_text())
    theirs = {"auto_map": {"AutoConfig": "evil.Evil", "AutoModelForImageClassification": "evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(config | theirs | {"model_type": "evil"}))
    with pytest.raises(ModelError, match="trust_remote_code"):
        resolve_weights(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config | theirs))
    build_model(f"transformers:{tmp_path}", num_classes=4, in_channels=3)
    assert not (tmp_path / "trap").exists()
    assert not is_trusted_name(f"transformers:{tmp_path}")
    assert not is_import_path(f"transformers:{tmp_path}")
