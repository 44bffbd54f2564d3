"""What the differential privacy of a training says of a request: in the run folder, on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from canonical import CLASSES, PER_CLASS, tiny_data
from commands import assert_refused, run_cli
from trained_once import CPU
from unlearnkit.errors import ModelError, UnlearnkitError
from unlearnkit.methods import make_method, unlearn
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.report import render
from unlearnkit.request import ForgetRequest
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.steps.output import Output
from unlearnkit.steps.recorded_training import recorded_training
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.training.group_privacy import for_request
from unlearnkit.training.private import Privacy

pytest.importorskip("opacus", reason="needs the extra dp")
SPEC = TrainSpec(
    model="small-cnn,width=4,norm=group",
    data="digits",
    settings=("epochs=1", "batch_size=100"),
    privacy=Privacy(epsilon=1.0),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("private") / "run"
    train_run(SPEC, Output(out), seed=2, runtime=CPU)
    return out


def test_the_statement_is_recorded_and_the_training_can_be_repeated(private: Path) -> None:
    config, card = read_json(private, "config.json")["private"], read_checkpoint(private / WEIGHTS).card
    assert card is not None
    assert card.private == config
    assert 0.9 < config["epsilon"] <= 1.0
    assert config["delta"] == pytest.approx(0.1 / config["samples"])
    again = recorded_training(private)
    assert again.privacy == Privacy(epsilon=1.0, delta=config["delta"])
    assert again.ways["privacy"]["epsilon"] == 1.0


@pytest.mark.parametrize(("rows", "vacuous"), [(1, False), (2, False), (40, True), (0, True)])
def test_the_report_says_what_the_request_is_promised(private: Path, tmp_path: Path, rows: int, vacuous: bool) -> None:
    """No rows stands for a class."""
    out, file = tmp_path / "out", tmp_path / "rows.csv"
    # held out for validation is what no training has had: the first rows that it has had
    file.write_text("\n".join(["row", *map(str, range(3, 3 + rows))]))
    request = ("--forget-rows", file, "--no-duplicates") if rows else ("--forget", "3")
    done = run_cli("forget", "--of", private, *request, "--method", "original", "--no-audit", "--out", out)
    assert done.code == 0, done.err
    found: dict[str, Any] = read_json(out, "config.json")["notes"]["privacy"]
    trained = found["values"]["rows"]
    assert (0 < trained <= rows) if rows else trained > 100
    made = read_json(private, "config.json")["private"]
    expected = for_request(made["epsilon"], made["delta"], trained)
    assert found["values"]["epsilon"] == expected.epsilon
    assert (found["code"] == "request_privacy_vacuous") == expected.vacuous == vacuous
    says = {True: ("says nothing", "这等于什么也没有说"), False: ("no test tells more than", "任何检验都至多")}[vacuous]
    assert says[0] in done.out
    for language, sentence in zip(("en", "zh"), says, strict=True):
        page = render(out, language)
        assert sentence in page
        assert f"{trained:,}" in page
    assert read_checkpoint(out / WEIGHTS).card.private is None  # type: ignore[union-attr]  # weights of ours have a card


@pytest.mark.parametrize(
    ("changes", "resume", "says"),
    [
        ({"model": "small-cnn"}, False, "BatchNorm mixes the images of a batch; choose an architecture with GroupNorm"),
        ({"init": Path("w.safetensors")}, False, "Expected fresh networks for --dp-epsilon"),
        ({}, True, "Expected no --resume with --dp-epsilon"),
        ({"privacy": Privacy(epsilon=1e-4)}, False, "Expected an epsilon that some noise gives"),
    ],
)
def test_what_cannot_be_private_is_refused(tmp_path: Path, changes: dict[str, Any], resume: bool, says: str) -> None:
    with pytest.raises(UnlearnkitError, match=says):
        train_run(replace(SPEC, **changes), Output(tmp_path / "out"), runtime=CPU, resume=resume)
    assert not (tmp_path / "out").exists()


def test_the_method_dp_is_a_reference_trained_on_all_and_says_what_the_request_is_promised() -> None:
    method = make_method("dp", settings=["recipe.epochs=1", "recipe.batch_size=8", "epsilon=1"])
    torch.manual_seed(0)
    build = partial(SmallCNN, len(CLASSES), 1, width=4, norm="group")
    result = unlearn(build(), method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU, factory=build)
    assert (
        result.notes["request"]["rows"]
        == PER_CLASS
        == result.notes["request"]["epsilon"] / result.notes["statement"]["epsilon"]
    )
    assert result.notes["request"]["vacuous"]
    assert result.notes["statement"]["samples"] == PER_CLASS + 3 * (PER_CLASS - 1)
    assert type(method).control  # it forgets nothing, and is never proposed
    with pytest.raises(ModelError, match="BatchNorm"):
        unlearn(SmallCNN(len(CLASSES)), method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU)


@pytest.mark.parametrize("words", [("--dp-epsilon", -1), ("--dp-epsilon", 1, "--dp-delta", 2)])
def test_values_out_of_range_are_refused(tmp_path: Path, words: tuple[object, ...]) -> None:
    done = run_cli("train", "--model", "small-cnn", "--data", "digits", *words, "--out", tmp_path / "out")
    assert_refused(done)
