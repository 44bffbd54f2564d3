"""Weights from afar: the Hugging Face hub and torchvision's server, by caches that the tests build themselves."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import errors
from safetensors.torch import save
from torch import nn
from torchvision import models as torchvision_models

from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.errors import ModelError, WeightsError
from unlearnkit.models import build_model, is_trusted_name
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.fetch import fetching
from unlearnkit.models.hub import WeightsSource, resolve_weights
from unlearnkit.models.preprocessing import OwnPreprocessing, own_preprocessing

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TIMM = "timm:test_vit,img_size=32"
HUB_ID = "timm/test_vit.r160_in1k"


def add_to_cache(home: Path, repository: str, files: dict[str, bytes], *, revision: str = "main") -> None:
    """Lay files down as huggingface_hub keeps them: blobs by hash, snapshots by commit, refs by name."""
    folder = home / "hub" / ("models--" + repository.replace("/", "--"))
    snapshot = folder / "snapshots" / COMMIT
    for each in (folder / "blobs", folder / "refs", snapshot):
        each.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(COMMIT)
    for name, content in files.items():
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in use in this process, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def pretrained_vit() -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model("test_vit", num_classes=1000)


def weights_of(model: nn.Module) -> bytes:
    return save({key: value.contiguous() for key, value in model.state_dict().items()})


def test_timm_loads_pretrained_weights_with_a_head_of_the_wanted_width(hub: Path) -> None:
    source = pretrained_vit()
    add_to_cache(hub, HUB_ID, {"model.safetensors": weights_of(source)})
    model = build_model("timm:test_vit", num_classes=7, in_channels=3, pretrained=True)
    assert torch.equal(model.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)
    assert model.head.weight.shape == (7, 64)
    fresh = build_model("timm:test_vit", num_classes=7, in_channels=3)
    assert not torch.equal(fresh.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)

    assert torch.equal(
        build_model("timm:test_vit", num_classes=1000, in_channels=3, pretrained=True).head.weight, source.head.weight
    )
    grey = build_model("timm:test_vit,img_size=32", num_classes=7, in_channels=1, pretrained=True)
    torch.testing.assert_close(grey.patch_embed.proj.weight, source.patch_embed.proj.weight.sum(dim=1, keepdim=True))


def test_without_a_network_pretrained_weights_are_refused_in_one_sentence(hub: Path) -> None:
    with pytest.raises(ModelError) as caught:
        build_model("timm:test_vit", num_classes=7, in_channels=3, pretrained=True)
    said = str(caught.value)
    assert said.startswith("Expected the pretrained weights of timm:test_vit, but this machine is offline")
    assert "HF_HUB_OFFLINE is set" in said
    assert "HF_HOME" in said
    assert said.count("\n") == 0
    with pytest.raises(ModelError, match="Expected the model timm:hf-hub:org/name, but this machine is offline"):
        build_model("timm:hf-hub:org/name", num_classes=7, in_channels=3)


def test_an_unreachable_hub_is_told_from_a_forbidden_one() -> None:
    with (
        pytest.raises(ModelError, match=r"the Hugging Face hub cannot be reached.*connect once"),
        fetching("x", ModelError),
    ):
        raise errors.LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            errors.RepositoryNotFoundError,
            r"Expected x, but the Hugging Face hub refuses it .RepositoryNotFoundError: 401 Client Error",
        ),
        (errors.GatedRepoError, "log in with `hf auth login`"),
        (errors.RevisionNotFoundError, "check the name"),
        (errors.HfHubHTTPError, "the Hugging Face hub refuses it"),
    ],
)
def test_what_the_hub_answers_is_said(kind: Any, words: str) -> None:
    error = kind.__new__(kind)
    error.args = ("401 Client Error.\nRepository Not Found",)
    with pytest.raises(WeightsError, match=words), fetching("x", WeightsError):
        raise error


def test_a_name_that_the_hub_does_not_know_is_told() -> None:
    with pytest.raises(WeightsError, match=r"no such file .404"), fetching("x", WeightsError):
        raise errors.EntryNotFoundError("404 Client Error")
    with (
        pytest.raises(WeightsError, match=r"hub refuses it .HFValidationError: Repo id must"),
        fetching("x", WeightsError),
    ):
        huggingface_hub.hf_hub_download("a/b/c", "x")


CONFIG = {
    "architecture": "test_vit",
    "num_classes": 3,
    "model_args": {"img_size": 32, "act_layer": "gelu"},
    "label_names": ["ant", "bee", 'it\'s "c"'],
    "pretrained_cfg": {
        "input_size": [3, 160, 160],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "num_classes": 3,
    },
}


def test_weights_of_the_hub_come_with_their_architecture_and_classes(hub: Path) -> None:
    torch.manual_seed(1)
    source = timm.create_model("test_vit", num_classes=3, img_size=32)
    add_to_cache(hub, "org/name", {"model.safetensors": weights_of(source), "config.json": json.dumps(CONFIG).encode()})
    found = resolve_weights("hf-hub:org/name")
    assert found.path.read_bytes() == weights_of(source)
    assert found.model == "timm:test_vit,img_size=32,act_layer='gelu'"
    assert (found.num_classes, found.classes) == (3, ("ant", "bee", 'it\'s "c"'))
    assert found.preprocessing == OwnPreprocessing(
        preprocessing=Preprocessing(
            size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), crop=0.95, interpolation="bicubic"
        ),
        fixed_size=True,
    )
    model = build_model(found.model, num_classes=3, in_channels=3)
    read_checkpoint(found.path).load_into(model)
    assert torch.equal(model.head.weight, source.head.weight)
    named = build_model("timm:hf-hub:org/name", num_classes=5, in_channels=3)
    assert named.pos_embed.shape == model.pos_embed.shape
    own = own_preprocessing("timm:hf-hub:org/name")
    assert own is not None
    assert own.preprocessing.mean == (0.5, 0.4, 0.3)


def test_a_revision_can_be_named(hub: Path) -> None:
    add_to_cache(hub, "org/name", {"model.safetensors": b"weights"}, revision="v2")
    assert resolve_weights("hf-hub:org/name@v2").path.read_bytes() == b"weights"
    assert resolve_weights(f"hf-hub:org/name@{COMMIT}").path.read_bytes() == b"weights"
    with pytest.raises(WeightsError, match=r"model.safetensors of hf-hub:org/name, but this machine is offline"):
        resolve_weights("hf-hub:org/name")


def test_weights_without_a_config_or_with_another_tools_say_nothing(hub: Path) -> None:
    add_to_cache(hub, "org/bare", {"model.safetensors": b"w"})
    found = resolve_weights("hf-hub:org/bare")
    assert found == WeightsSource(path=found.path)
    add_to_cache(hub, "org/bert", {"model.safetensors": b"w", "config.json": b'{"architectures": ["Bert"]}'})
    found = resolve_weights("hf-hub:org/bert")
    assert found == WeightsSource(path=found.path)
    add_to_cache(hub, "org/short", {"model.safetensors": b"w", "config.json": b'{"architecture": "resnet10t"}'})
    found = resolve_weights("hf-hub:org/short")
    assert found == WeightsSource(path=found.path, model="timm:resnet10t")


def test_a_model_of_transformers_is_told_its_own_name(hub: Path) -> None:
    config = b'{"architectures": ["ViTForImageClassification"], "model_type": "vit"}'
    add_to_cache(hub, "org/vit", {"model.safetensors": b"w", "config.json": config})
    with pytest.raises(WeightsError, match=r"a model of transformers; give --weights transformers:org/vit,"):
        resolve_weights("hf-hub:org/vit")
    wrapped = b'{"architecture": "resnet10t", "model_type": "timm_wrapper"}'
    add_to_cache(hub, "org/wrapped", {"model.safetensors": b"w", "config.json": wrapped})
    assert resolve_weights("hf-hub:org/wrapped").model == "timm:resnet10t"


@pytest.mark.parametrize(
    ("architecture", "recorded", "option"),
    [("test_resnet", "max", ",global_pool='max'"), ("test_resnet", "avg", ""), ("test_vit", "token", "")],
)
def test_the_pooling_that_a_hub_page_records_is_used(hub: Path, architecture: str, recorded: str, option: str) -> None:
    config = {"architecture": architecture, "num_classes": 3, "global_pool": recorded}
    add_to_cache(hub, "org/name", {"model.safetensors": b"w", "config.json": json.dumps(config).encode()})
    assert resolve_weights("hf-hub:org/name").model == f"timm:{architecture}{option}"


def test_a_file_is_a_file() -> None:
    assert resolve_weights("runs/model.safetensors") == WeightsSource(path=Path("runs/model.safetensors"))


@pytest.mark.parametrize("text", ["hf-hub:", "hf-hub:name", "hf-hub:a/b/c", "hf-hub:a/b@", "hf-hub:../x", "hf-hub:/b"])
def test_an_address_that_is_none_is_refused(hub: Path, text: str) -> None:
    with pytest.raises(WeightsError, match=r"^Expected hf-hub:ORG/NAME|hub refuses it"):
        resolve_weights(text)


@pytest.mark.parametrize(
    "config",
    [
        b"{",
        b"\xff",
        b"[]",
        *(
            json.dumps(CONFIG | change).encode()
            for change in (
                {"architecture": "hf-hub:evil/model"},
                {"architecture": "local-dir:/tmp"},
                {"architecture": "test_vit,checkpoint_path='/etc/passwd'"},
                {"architecture": 3},
                {"model_args": [1]},
                {"model_args": {"x=1,checkpoint_path": 1}},
                {"num_classes": "3"},
                {"num_classes": 0},
                {"label_names": ["a", "a", "b"]},
                {"label_names": ["a", "b"]},
                {"label_names": {"0": "a"}},
                {"label_names": [1, 2, 3]},
                {"pretrained_cfg": {"input_size": [3, 32, 32]}},
                {"pretrained_cfg": 3},
                {"model_args": {}, "pretrained_cfg": CONFIG["pretrained_cfg"] | {"input_size": [3, 32, 48]}},  # type: ignore[operator]
            )
        ),
    ],
)
def test_a_damaged_config_is_refused(hub: Path, config: bytes) -> None:
    add_to_cache(hub, "org/name", {"model.safetensors": b"w", "config.json": config})
    with pytest.raises(WeightsError, match=r"Expected config.json of hf-hub:org/name to .* it is damaged"):
        resolve_weights("hf-hub:org/name")


@pytest.mark.parametrize("value", ["/etc/passwd", "a', checkpoint_path='/etc/passwd", 'a\'", checkpoint_path="/x'])
def test_a_config_cannot_smuggle_in_what_a_name_may_not_say(hub: Path, value: str) -> None:
    add_to_cache(
        hub,
        "org/name",
        {
            "model.safetensors": b"w",
            "config.json": json.dumps(CONFIG | {"model_args": {"checkpoint_path": value, "act_layer": value}}).encode(),
        },
    )
    name = resolve_weights("hf-hub:org/name").model
    assert name is not None
    assert is_trusted_name(name)
    with pytest.raises(ModelError, match="checkpoint_path; the data and --pretrained decide"):
        build_model(name, num_classes=3, in_channels=3)


SCRIPT = """
import sys, torch
from unlearnkit.errors import ModelError, WeightsError
from unlearnkit.models import build_model
from unlearnkit.models.hub import resolve_weights

model = build_model("timm:test_vit", num_classes=4, in_channels=3, pretrained=True)
print(float(model.blocks[0].attn.qkv.weight.detach().double().sum()))
print(resolve_weights("hf-hub:timm/test_vit.r160_in1k").path.is_file())
for attempt in (lambda: build_model("timm:test_resnet", num_classes=4, in_channels=3, pretrained=True),
                lambda: resolve_weights("hf-hub:org/nothing")):
    try:
        attempt()
    except (ModelError, WeightsError) as error:
        print(error)
"""


@pytest.mark.slow
def test_the_environment_names_the_cache(tmp_path: Path) -> None:
    source = pretrained_vit()
    add_to_cache(tmp_path, HUB_ID, {"model.safetensors": weights_of(source)})
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert float(done[0]) == float(source.blocks[0].attn.qkv.weight.detach().double().sum())  # type: ignore[union-attr, index]
    assert done[1] == "True"
    assert "timm:test_resnet, but this machine is offline (HF_HUB_OFFLINE is set)" in done[2]
    assert "model.safetensors of hf-hub:org/nothing, but this machine is offline" in done[3]


@pytest.fixture
def squeezenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """What torchvision's server would send for its pretrained squeezenet, under a name that carries its hash."""
    torch.manual_seed(2)
    source: nn.Module = torchvision_models.squeezenet1_1()
    buffer = io.BytesIO()
    torch.save(source.state_dict(), buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
    served = tmp_path / f"squeezenet1_1-{digest}.pth"
    served.write_bytes(buffer.getvalue())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torchvision_models.SqueezeNet1_1_Weights.DEFAULT.value, "url", served.as_uri())
    return source


def test_torchvision_loads_pretrained_weights_with_a_head_of_the_wanted_width(
    squeezenet: nn.Module, tmp_path: Path
) -> None:
    model = build_model("torchvision:squeezenet1_1", num_classes=7, in_channels=3, pretrained=True)
    wanted = squeezenet.state_dict()
    for key, value in model.state_dict().items():
        assert key.startswith("classifier.1") or torch.equal(value, wanted[key]), key
    assert model.classifier[1].weight.shape == (7, 512, 1, 1)
    assert list((tmp_path / "home" / "hub" / "checkpoints").glob("squeezenet1_1-*.pth"))
    for served in tmp_path.glob("*.pth"):
        served.unlink()  # the cached copy serves from now on
    whole = build_model("torchvision:squeezenet1_1", num_classes=1000, in_channels=3, pretrained=True)
    assert torch.equal(whole.classifier[1].weight, squeezenet.classifier[1].weight)  # type: ignore[index, union-attr]


def test_a_download_that_is_not_what_its_name_says_is_refused(squeezenet: nn.Module, tmp_path: Path) -> None:
    for served in tmp_path.glob("*.pth"):
        served.write_bytes(b"something else")
    with pytest.raises(ModelError, match="invalid hash value"):
        build_model("torchvision:squeezenet1_1", num_classes=7, in_channels=3, pretrained=True)


def test_torchvisions_server_can_be_out_of_reach(squeezenet: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> None:
        build_model("torchvision:squeezenet1_1", num_classes=7, in_channels=3, pretrained=True)

    weights = torchvision_models.SqueezeNet1_1_Weights.DEFAULT.value
    monkeypatch.setattr(weights, "url", "http://127.0.0.1:9/squeezenet1_1-01234567.pth")
    with pytest.raises(ModelError, match=r"torchvision:squeezenet1_1, but this machine is offline .*TORCH_HOME"):
        build()

    def answer(*_args: object, **_options: object) -> None:
        raise HTTPError("http://x", 404, "Not Found", {}, None)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.hub, "urlopen", answer)
    with pytest.raises(ModelError, match="their server answers 404"):
        build()


@pytest.mark.slow
def test_weights_that_need_options_say_so() -> None:
    with pytest.raises(ModelError, match="write torchvision:googlenet,aux_logits=True,transform_input=True"):
        build_model("torchvision:googlenet", num_classes=7, in_channels=3, pretrained=True)
    with pytest.raises(ModelError, match="'image_size' expected value 224 but got 32"):
        build_model("torchvision:vit_b_32,image_size=32", num_classes=7, in_channels=3, pretrained=True)
