"""Weights of other tools: pickles as tensors only, prefixes, tied weights, half precision, heads of another width."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from unlearnkit.errors import WeightsError
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint

State = dict[str, Tensor]


def trained() -> SmallCNN:
    torch.manual_seed(3)
    return SmallCNN(3, width=4)


def assert_loaded(path: Path, model: nn.Module | None = None, rtol: float = 0) -> None:
    fresh = SmallCNN(3, width=4)
    assert read_checkpoint(path).load_into(fresh) == ()
    for key, value in (model or trained()).state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[key], value, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "PTH"])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "net", "state_dict_ema"])
def test_pickled_tensors_are_read_from_where_trainers_put_them(tmp_path: Path, suffix: str, key: str | None) -> None:
    state: Any = trained().state_dict()
    torch.save(state if key is None else {"epoch": 3, key: state, "optimizer": {"lr": 0.1}}, tmp_path / f"m.{suffix}")
    checkpoint = read_checkpoint(tmp_path / f"m.{suffix}")
    assert checkpoint.card is None
    assert len(checkpoint.sha256) == 64
    assert_loaded(tmp_path / f"m.{suffix}")


def test_old_pickles_and_parameters_are_read_too(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert_loaded(tmp_path / "old.pt")
    torch.save(OrderedDict(trained().state_dict(keep_vars=True)), tmp_path / "vars.pt")
    assert_loaded(tmp_path / "vars.pt")
    assert not any(value.requires_grad for value in read_checkpoint(tmp_path / "vars.pt").state.values())


class Touches:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_of_more_than_tensors_is_refused_and_not_run(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "model.pt"
    torch.save(Touches(trap), path)
    with pytest.raises(WeightsError, match="can run any code") as caught:
        read_checkpoint(path)
    assert "safetensors.torch.save_file(model.state_dict()" in str(caught.value)
    torch.save({"state_dict": trained().state_dict(), "trap": Touches(trap)}, path)
    with pytest.raises(WeightsError, match="can run any code"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Touches(trap)))
    with pytest.raises(WeightsError, match="can run any code"):
        read_checkpoint(path)
    torch.save(trained(), path)
    with pytest.raises(WeightsError, match=r"asks for unlearnkit.models.builtin.SmallCNN\); .* can run any code"):
        read_checkpoint(path)
    assert not trap.exists()


def test_a_broken_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(trained().state_dict(), path)
    whole = path.read_bytes()
    for keep in (0, 1, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:keep])
        with pytest.raises(WeightsError, match=r"is (broken, cut short or of another kind|empty)"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {"w": torch.ones(1)}, "state_dict_ema": {"w": torch.ones(1)}}, r"several .state_dict, state_d"),
        ({"model": {"w": torch.ones(1)}, "net": {"w": torch.ones(1)}}, r"several .model, net"),
        ({"optimizer": {"w": torch.ones(1)}}, "holds the keys optimizer"),
        ({"rng": {"w": torch.ones(1)}, "criterion": {"w": torch.ones(1)}}, "holds the keys rng, criterion"),
        ({"w": torch.ones(1), "epoch": 3}, "holds the keys w, epoch"),
        ({"state_dict": {"w": 3}}, "holds the keys state_dict"),
        ({"state_dict": {}}, "holds the keys state_dict"),
        ({0: torch.ones(1)}, "holds the keys 0"),
        ({}, "holds the keys "),
        ([torch.ones(1)], "holds no mapping"),
        (torch.ones(1), "holds no mapping"),
    ],
)
def test_a_pickle_without_one_set_of_weights_is_refused(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=words):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, prefix: str) -> None:
    save_file({prefix + k: v for k, v in trained().state_dict().items()}, tmp_path / "w.safetensors")
    assert_loaded(tmp_path / "w.safetensors")


def test_a_prefix_that_is_the_models_own_stays_and_what_is_left_over_is_named(tmp_path: Path) -> None:
    state = {"module." + k: v for k, v in trained().state_dict().items()}
    own = nn.ModuleDict({"module": SmallCNN(3, width=4)})
    save_file(state, tmp_path / "w.safetensors")
    read_checkpoint(tmp_path / "w.safetensors").load_into(own)
    assert torch.equal(own["module"].head.weight, state["module.head.weight"])
    save_file({**state, "head.bias": torch.ones(3)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"prefix module\. taken off.*\(unexpected: head\.bias\); .*-key module"):
        read_checkpoint(tmp_path / "w.safetensors").load_into(SmallCNN(3, width=4))
    read_checkpoint(tmp_path / "w.safetensors", "module").load_into(SmallCNN(3, width=4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in trained().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    assert_loaded(tmp_path / "w.safetensors", rtol=1e-2)


def test_integers_are_no_weights(tmp_path: Path) -> None:
    state = trained().state_dict() | {"head.weight": torch.ones((3, 8), dtype=torch.int8)}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"of another type: head.weight torch.int8 instead of torch.float32"):
        read_checkpoint(tmp_path / "w.safetensors").load_into(SmallCNN(3, width=4))


@pytest.mark.parametrize(
    ("key", "value", "dtype"),
    [
        ("head.weight", float("nan"), torch.float32),
        ("head.weight", float("-inf"), torch.float32),
        ("head.weight", 1e300, torch.float64),  # infinite as float32
        ("features.1.running_var", float("nan"), torch.float32),
    ],
)
def test_values_that_are_not_finite_are_named_and_nothing_is_loaded(
    tmp_path: Path, key: str, value: float, dtype: torch.dtype
) -> None:
    state = dict(trained().state_dict())
    state[key] = state[key].to(dtype).clone()
    state[key].view(-1)[1] = value
    save_file(state, tmp_path / "w.safetensors")
    model = SmallCNN(3, width=4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match=f"finite weights, but {key} in .*w.safetensors has NaN or infinite"):
        read_checkpoint(tmp_path / "w.safetensors").load_into(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight


def test_tied_weights_may_be_stored_once(tmp_path: Path) -> None:
    model = Tied()
    save_model(model, str(tmp_path / "w.safetensors"))
    checkpoint = read_checkpoint(tmp_path / "w.safetensors")
    assert len(checkpoint.state) == 3
    fresh = Tied()
    checkpoint.load_into(fresh)
    assert torch.equal(fresh.one.weight, model.one.weight)
    assert fresh.two.weight is fresh.one.weight
    untied = nn.ModuleDict({"one": nn.Linear(3, 3), "two": nn.Linear(3, 3)})
    with pytest.raises(WeightsError, match=r"missing: (one|two)\.weight"):
        checkpoint.load_into(untied)


def test_weights_that_are_tied_in_the_model_alone_are_refused(tmp_path: Path) -> None:
    state = {k: torch.randn(v.shape) for k, v in Tied().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"tied in the model, but different here: two\.weight and one\.weight"):
        read_checkpoint(tmp_path / "w.safetensors").load_into(Tied())


def test_a_head_of_another_width_can_be_left_fresh(tmp_path: Path) -> None:
    save_file(trained().state_dict(), tmp_path / "w.safetensors")
    checkpoint = read_checkpoint(tmp_path / "w.safetensors")
    model = SmallCNN(7, width=4)
    head = model.head.weight.clone()
    with pytest.raises(WeightsError, match=r"of another shape: head.weight .3, 8. instead of .7, 8., head.bias"):
        checkpoint.load_into(model)
    assert checkpoint.load_into(model, fresh_head="head") == ("head.weight", "head.bias")
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.features[0].weight, trained().features[0].weight)
    assert checkpoint.load_into(SmallCNN(3, width=4), fresh_head="head") == ()
    with pytest.raises(WeightsError, match=r"of another shape: head\.weight"):
        checkpoint.load_into(model, fresh_head="features.0")
    with pytest.raises(WeightsError, match=r"of another shape: features\.0\.weight"):
        checkpoint.load_into(SmallCNN(7, width=5), fresh_head="head")
    del checkpoint.state["head.bias"]
    with pytest.raises(WeightsError, match=r"missing: head\.bias"):
        checkpoint.load_into(model, fresh_head="head")
