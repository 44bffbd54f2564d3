"""Checkpoints of other trainers: first bytes decide, the one prefix is found, leftovers named, several sets asked."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from unlearnkit.errors import WeightsError
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint

State = dict[str, Tensor]


def trained(seed: int = 3) -> SmallCNN:
    torch.manual_seed(seed)
    return SmallCNN(3, width=4)


def state_of(prefix: str = "", seed: int = 3) -> State:
    return {prefix + key: value for key, value in trained(seed).state_dict().items()}


def assert_loaded(path: Path, key: str | None = None, seed: int = 3) -> str | None:
    """Load a file and compare with what was trained; returns the note."""
    fresh = SmallCNN(3, width=4)
    checkpoint = read_checkpoint(path, key)
    assert checkpoint.load_into(fresh) == ()
    for name, value in trained(seed).state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name
    return checkpoint.note(fresh)


def sgd() -> dict[str, Any]:
    model = trained()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


# what trainers write, the key to give, and what the note says
FILES: dict[str, tuple[Callable[[], Any], str | None, list[str]]] = {
    "checkpoint.th": (state_of, None, []),
    "no-suffix": (state_of, None, []),
    "wrong.safetensors": (state_of, None, []),
    "0model_SA_best.pth.tar": (  # Unlearn-Sparse
        lambda: {"epoch": 3, "state_dict": state_of(), "best_sa": 91.0, "optimizer": sgd(), "init_weight": None},
        None,
        ["under the key state_dict"],
    ),
    "last.ckpt": (  # Lightning, with its optimiser and a loss that is a module
        lambda: {
            "pytorch-lightning_version": "2.5",
            "state_dict": {**state_of("model."), "criterion.weight": torch.ones(3)},
            "loops": {},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9), "monitor": "val"}},
            "optimizer_states": [sgd()],
            "lr_schedulers": [],
        },
        None,
        ["the prefix model. taken off", "left out criterion.weight"],
    ),
    "ep3-ba9-rank0.pt": (  # Composer
        lambda: {
            "state": {"model": state_of("module."), "optimizers": {"Adam": sgd()}, "timestamp": {"epoch": 3}},
            "rng": [{"torch": torch.zeros(3, dtype=torch.uint8)}],
        },
        None,
        ["under the key state.model", "the prefix module. taken off"],
    ),
    "opacus.pt": (lambda: state_of("_module."), None, ["the prefix _module."]),
    "parallel.pt": (lambda: nn.DataParallel(trained()).state_dict(), None, ["the prefix module."]),
    "backbone.bin": (lambda: {"model": state_of("backbone.")}, None, ["the prefix backbone."]),
    "nested.pt": (lambda: state_of("net.module._orig_mod."), None, ["the prefix net.module._orig_mod."]),
    "swa.pt": (lambda: AveragedModel(trained()).state_dict(), None, ["prefix module.", "left out n_averaged"]),
    "thop.pt": (
        lambda: {**state_of(), "total_ops": torch.zeros(1), "head.total_params": torch.zeros(1)},
        None,
        ["left out total_ops, head.total_params"],
    ),
    "kuangliu.pth": (lambda: {"net": state_of(), "acc": 91.2, "epoch": 3}, None, ["the key net"]),
    "model_state.pth": (lambda: {"model_state": state_of(), "epoch": 3}, None, ["the key model_state"]),
    "dino-like.pth": (
        lambda: {"student": state_of(), "dino_head": {"center": torch.zeros(1, 3)}, "optimizer": sgd()},
        None,
        ["the key student"],
    ),
    "tv-ema.pth": (
        lambda: {"model": state_of(), "optimizer": sgd(), "model_ema": AveragedModel(trained(4)).state_dict()},
        "model",
        ["the key model"],
    ),
    "lit-ema.ckpt": (
        lambda: {"state_dict": {**state_of("model."), **state_of("ema.module.", seed=4), "ema.decay": torch.ones(())}},
        "state_dict.model",
        ["the prefix model. taken off", "left out ema.module."],
    ),
    "beside.pt": (lambda: {**state_of(), **state_of("ema.", seed=4)}, ".", ["left out ema."]),
    "twice.pt": (lambda: {**state_of("net."), **state_of("model.")}, None, ["the prefix"]),  # one module, two names
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("old", [False, True])
def test_checkpoints_of_other_trainers_are_read(tmp_path: Path, name: str, old: bool) -> None:
    make, key, words = FILES[name]
    torch.save(make(), tmp_path / name, _use_new_zipfile_serialization=not old)
    note = assert_loaded(tmp_path / name, key)
    assert (note is None) == (not words)
    assert all(word in (note or "") for word in words), note


def test_the_suffix_of_safetensors_does_not_matter_either(tmp_path: Path) -> None:
    for name in ("w.ckpt", "w.pt", "w"):
        save_file(state_of("model."), tmp_path / name)
        assert "the prefix model. taken off" in (assert_loaded(tmp_path / name) or "")


SEVERAL: dict[str, tuple[Callable[[], Any], dict[str, int]]] = {
    "torchvision reference": (
        lambda: {"model": state_of(), "model_ema": AveragedModel(trained(4)).state_dict()},
        {"model": 3, "model_ema": 4},
    ),
    "timm": (
        lambda: {"state_dict": state_of(), "state_dict_ema": state_of(seed=4)},
        {"state_dict": 3, "state_dict_ema": 4},
    ),
    "ema": (lambda: {"net": state_of(), "ema": state_of(seed=4), "optimizer": sgd()}, {"net": 3, "ema": 4}),
    "ema_state_dict": (
        lambda: {"model": state_of(), "ema_state_dict": state_of(seed=4)},
        {"model": 3, "ema_state_dict": 4},
    ),
    "teacher": (lambda: {"student": state_of("m."), "teacher": state_of("m.", seed=4)}, {"student": 3, "teacher": 4}),
    "two prefixes": (lambda: {**state_of("model."), **state_of("ema.module.", seed=4)}, {"model": 3, "ema.module": 4}),
    "with and without": (lambda: {**state_of(), **state_of("ema.", seed=4)}, {".": 3, "ema": 4}),
    "two prefixes below a key": (
        lambda: {"state_dict": {**state_of("a."), **state_of("b.", seed=4)}},
        {"state_dict.a": 3, "state_dict.b": 4, "a": 3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_several_sets_of_weights_are_asked_for(tmp_path: Path, name: str) -> None:
    make, keys = SEVERAL[name]
    path = tmp_path / "w.pt"
    torch.save(make(), path)
    with pytest.raises(WeightsError, match=r"Expected one set of weights, but .* holds several") as caught:
        assert_loaded(path)
    assert all(key in str(caught.value) for key in [*keys][:2])
    assert f"--weights-key {next(iter(keys))}." in str(caught.value)
    for key, seed in keys.items():
        assert_loaded(path, key, seed)


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    torch.save({"model": state_of(), "model_ema": state_of(seed=4)}, tmp_path / "two.pt")
    with pytest.raises(WeightsError, match=r"none under 'ema' \(model, model_ema\); .*--weights-key model\."):
        read_checkpoint(tmp_path / "two.pt", "ema")
    torch.save(state_of("net."), tmp_path / "one.pt")
    with pytest.raises(WeightsError, match=r"after 'ema\.' in .*lie under 'net'"):
        assert_loaded(tmp_path / "one.pt", "ema")


def test_one_prefix_that_fits_by_its_shapes_is_taken(tmp_path: Path) -> None:
    """A student beside a wider teacher: the shapes of the built model say which of the two is meant."""
    wider = {"teacher." + key: value for key, value in SmallCNN(3, width=8).state_dict().items()}
    torch.save({**wider, **state_of("student.")}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"unexpected: teacher\..*--weights-key student"):
        assert_loaded(tmp_path / "w.pt")
    assert_loaded(tmp_path / "w.pt", "student")


def test_checkpoints_of_timm_itself_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    ema = ModelEmaV3(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for folder, average in (("plain", None), ("averaged", ema)):
        (tmp_path / folder).mkdir()
        saver = CheckpointSaver(model, optimizer, model_ema=average, checkpoint_dir=str(tmp_path / folder))
        saver.save_checkpoint(0, metric=0.5)
    fresh = timm.create_model("test_resnet", num_classes=3)
    read_checkpoint(tmp_path / "plain" / "last.pth.tar").load_into(fresh)
    assert torch.equal(fresh.fc.weight, model.fc.weight)
    with pytest.raises(WeightsError, match="state_dict, state_dict_ema"):
        read_checkpoint(tmp_path / "averaged" / "last.pth.tar")
    read_checkpoint(tmp_path / "averaged" / "last.pth.tar", "state_dict_ema").load_into(fresh)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (SimpleNamespace(a=1), ["it asks for types.SimpleNamespace", "safetensors.torch.save_file"]),
        (argparse.Namespace(a=SimpleNamespace()), ["it asks for types.SimpleNamespace"]),
        (np.random.RandomState, ["it asks for numpy.random", "safetensors.torch.save_file(model.state_dict()"]),
    ],
)
def test_what_is_no_tensor_is_refused_with_what_to_do(tmp_path: Path, extra: object, words: list[str]) -> None:
    torch.save({"state_dict": state_of(), "args": extra}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="can run any code") as caught:
        read_checkpoint(tmp_path / "w.pt")
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, sizes=[1, 2]),
        np.float64(0.9),
        np.arange(3.0),
        {"accuracy": {"forget": np.float32(0.5)}},
    ],
    ids=["namespace", "number", "array", "evaluation"],
)
def test_what_is_data_alone_beside_the_weights_is_left_out(tmp_path: Path, beside: object) -> None:
    torch.save({"state_dict": state_of(), "evaluation_result": beside}, tmp_path / "w.pt")
    assert_loaded(tmp_path / "w.pt")
    with pytest.raises(pickle.UnpicklingError):  # and nobody else's reading is changed
        torch.load(tmp_path / "w.pt", weights_only=True)


def test_no_object_beside_the_weights_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(
        {"state_dict": state_of(), "args": argparse.Namespace(lr=0.1), "best": np.float64(1.0)}, tmp_path / "w.pt"
    )
    for module, name in ((argparse, "Namespace"), (np, "dtype"), (np, "ndarray")):
        monkeypatch.setattr(module, name, None)
    assert set(read_checkpoint(tmp_path / "w.pt").state) == set(state_of())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer .*git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n\n<html>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(300), "HDF5"),
        (b"\x1f\x8b\x08" + bytes(300), "gzip; unpack it"),
        (b"GGUF" + bytes(300), "GGUF"),
        (b"\x93NUMPY" + bytes(300), "NumPy array"),
        (b'{"metadata": {"total_size": 3}, "weight_map": {}}', "index of a sharded model"),
        (bytes(257) + b"ustar" + bytes(300), "tar archive"),
        (b"", "is empty"),
        (b"anything else", "broken, cut short or of another kind"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    for name in ("w.safetensors", "w.ckpt"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=words):
            read_checkpoint(tmp_path / name)


def test_zip_archives_of_other_tools_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("model.weights.h5", b"x")
    with pytest.raises(WeightsError, match=r"zip archive that torch\.save did not write"):
        read_checkpoint(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="TorchScript program; save its weights"):
        read_checkpoint(tmp_path / "w.pt")


def test_counters_of_steps_may_be_missing(tmp_path: Path) -> None:
    """PyTorch before 0.4.1 had no num_batches_tracked."""
    state = {key: value for key, value in state_of("module.").items() if "num_batches" not in key}
    torch.save(state, tmp_path / "w.pt")
    fresh = SmallCNN(3, width=4)
    left = read_checkpoint(tmp_path / "w.pt").load_into(fresh)
    assert len(left) == 3
    assert all("num_batches_tracked" in key for key in left)
    assert torch.equal(fresh.head.weight, trained().head.weight)


def test_a_parameter_of_the_models_own_is_no_leftover(tmp_path: Path) -> None:
    model = nn.Module()
    model.decay = nn.Parameter(torch.tensor(0.5))
    model.loss = nn.Linear(2, 2)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with torch.no_grad():
        model.decay.fill_(0.1)
    checkpoint = read_checkpoint(tmp_path / "w.pt")
    checkpoint.load_into(model)
    assert model.decay == 0.5
    assert checkpoint.note(model) is None
    plain = {**state_of(), "temperature": torch.ones(())}
    torch.save(plain, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="unexpected: temperature"):
        assert_loaded(tmp_path / "w.pt")


def test_the_wrapper_is_named_where_names_differ_by_one(tmp_path: Path) -> None:
    torch.save(state_of(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"the model wraps its layers in 'net'"):
        read_checkpoint(tmp_path / "w.pt").load_into(nn.ModuleDict({"net": SmallCNN(3, width=4)}))
    torch.save({f"encoder.{key}": value for key, value in nn.Linear(2, 2).state_dict().items()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"all names in the file begin with 'encoder'"):
        assert_loaded(tmp_path / "w.pt")
    missing = state_of("model.")
    del missing["model.head.bias"]
    torch.save(missing, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"prefix model\. taken off, does not \(missing: head\.bias\)"):
        assert_loaded(tmp_path / "w.pt")


@pytest.mark.parametrize(("theirs", "words"), [(1000, "its first 3 need not be those of the data"), (2, "2 outputs")])
def test_another_number_of_outputs_speaks_of_the_class_list(tmp_path: Path, theirs: int, words: str) -> None:
    torch.save(SmallCNN(theirs, width=4).state_dict(), tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=rf"they have {theirs} outputs, but there are 3 classes: give --classes"
    ) as e:
        assert_loaded(tmp_path / "w.pt")
    assert words in str(e.value)


def test_another_number_of_channels_speaks_of_the_option(tmp_path: Path) -> None:
    torch.save(SmallCNN(3, 3, width=4).state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"features\.0 takes 3 channels, but it is given 1: give --channels 3"):
        assert_loaded(tmp_path / "w.pt")
