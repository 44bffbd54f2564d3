"""Weights that do not fit, or are broken: refused in one sentence, and nothing written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from commands import WEIGHTS, assert_refused, forget, run_cli, tree
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import METADATA_KEY, checkpoint_bytes, read_checkpoint
from unlearnkit.models.metadata import ModelCard


def _truncated(path: Path, whole: bytes) -> None:
    path.write_bytes(whole[: len(whole) // 2])


def _pickle(path: Path, whole: bytes) -> None:
    torch.save(SmallCNN(10).state_dict(), path)


def _empty(path: Path, whole: bytes) -> None:
    path.write_bytes(b"")


def _without_a_key(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    checkpoint = read_checkpoint(path)
    assert checkpoint.card is not None
    model = torch.nn.ParameterDict(
        {k.replace(".", "_"): v for k, v in checkpoint.state.items() if v.is_floating_point()}
    )
    path.write_bytes(checkpoint_bytes(model, checkpoint.card))


def _with_metadata(text: str) -> Callable[[Path, bytes], None]:
    def change(path: Path, whole: bytes) -> None:
        path.write_bytes(whole)
        save_file(read_checkpoint(path).state, path, metadata={METADATA_KEY: text})

    return change


def _without_card(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    save_file(read_checkpoint(path).state, path)


def _import_path(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    checkpoint = read_checkpoint(path)
    assert checkpoint.card is not None
    card = ModelCard(**{**checkpoint.card.__dict__, "model": "evil_module_of_a_stranger:make"})
    model = SmallCNN(10, width=8)
    checkpoint.load_into(model)
    path.write_bytes(checkpoint_bytes(model, card))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(_truncated, ["complete safetensors file"], id="truncated"),
        pytest.param(_pickle, ["does not record one", "--model NAME"], id="pickle"),
        pytest.param(_empty, ["safetensors, or what torch.save writes", "is empty"], id="empty"),
        pytest.param(_without_a_key, ["missing: features.0.weight", "unexpected: "], id="other keys"),
        pytest.param(_with_metadata("{"), ["model card", "damaged"], id="card is no JSON"),
        pytest.param(_with_metadata("{}"), ["model card", "damaged"], id="card is empty"),
        pytest.param(_without_card, ["does not record one", "--model NAME"], id="no card"),
        pytest.param(_import_path, ["--model evil_module_of_a_stranger:make", "neither is done"], id="import path"),
    ],
)
def test_bad_weights_are_refused(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, bytes], None],
    words: list[str],
) -> None:
    (tmp_path / "evil_module_of_a_stranger.py").write_text("raise SystemExit('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "w.safetensors"
    change(path, weights.read_bytes())
    before = tree(tmp_path)
    for args in (["--forget", "3"], ["--forget", "3", "--no-audit", "--quiet"]):
        assert_refused(forget(*args, weights=path, out=tmp_path / "out"), *words)
    assert_refused(
        run_cli("audit", "--original", path, "--unlearned", weights, "--data", "digits", "--forget", 3,
                "--out", tmp_path / "out"),
        *words,
    )  # fmt: skip
    assert "evil_module_of_a_stranger" not in sys.modules
    assert tree(tmp_path) == before


FACTORIES = """
from unlearnkit.models import SmallCNN
def stubborn(num_classes):
    return SmallCNN(7)
def plain(num_classes):
    return SmallCNN(num_classes, width=8)
def text(num_classes):
    return "a model"
def other(classes):
    return SmallCNN(classes)
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "factories_for_the_cli.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return "factories_for_the_cli"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stubborn", ["Expected 10 outputs", "the model has 7"]),
        ("text", ["torch.nn.Module, but got str"]),
        ("other", ["take num_classes="]),
        ("absent", ["cannot be imported", "absent"]),
    ],
)
@pytest.mark.parametrize("command", ["forget", "train"])
def test_a_factory_that_does_not_fit_is_refused(
    weights: Path, tmp_path: Path, factories: str, command: str, name: str, words: list[str]
) -> None:
    given = ["--data", "digits", "--out", tmp_path / "out", "--model", f"{factories}:{name}", "--device", "cpu"]
    more = ["--weights", weights, "--forget", "3"] if command == "forget" else []
    assert_refused(run_cli(command, *given, *more), *words)
    assert set(tree(tmp_path)) == {f"{factories}.py"}


@pytest.mark.slow
def test_a_factory_of_the_caller_works_when_it_is_named(weights: Path, tmp_path: Path, factories: str) -> None:
    name = f"{factories}:plain"
    first = forget("--forget", 3, "--no-audit", "--quiet", "--model", name, weights=weights, out=tmp_path / "a")
    assert first.code == 0, first.err
    made = tmp_path / "a" / WEIGHTS
    assert_refused(forget("--forget", 4, weights=made, out=tmp_path / "b"), f"--model {name}")
    second = forget("--forget", 4, "--no-audit", "--quiet", "--model", name, weights=made, out=tmp_path / "b")
    assert second.code == 0, second.err


def test_weights_made_for_another_normalisation_are_refused(weights: Path, tmp_path: Path) -> None:
    refused = forget("--forget", 3, "--mean", "0.7", weights=weights, out=tmp_path / "out")
    assert_refused(refused, "(0.7,)", "leave --mean and --std out")
