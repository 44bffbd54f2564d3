"""The benchmark that needs a GPU, gone through without one: its results, what is kept, failures and the budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import comparison_runs
import gpu
import gpu_course
import gpu_plan
from brief import shorten
from compare_methods import candidates
from gpu_book import Book
from unlearnkit.methods.registry import METHODS
from unlearnkit.models import build_model
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.training.from_scratch import recipe_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gpu")]  # one process makes the run that most look at


def run(folder: Path, *more: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)  # no figure of an audit matters
        gpu.main(["--smoke", "--work", str(folder / "work"), "--out", str(folder / "out"), *more])
    content: dict[str, Any] = json.loads((folder / "out" / "gpu.json").read_text())
    return content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    run(folder)
    return folder


def test_every_step_is_done_and_recorded(made: Path) -> None:
    content = json.loads((made / "out" / "gpu.json").read_text())
    assert content["smoke"]
    assert tuple(content["steps"]) == gpu_plan.STEPS
    assert content["left_out"] == []
    assert content["failed"] == {}
    units = {f"{step}/{name}": unit for step, each in content["steps"].items() for name, unit in each.items()}
    assert [name for name, unit in units.items() if unit["failure"] is not None] == []
    assert {"device", "name", "cpus"} <= set(content["hardware"])
    seeds = [
        units[f"{step}/{name}"]["result"]["seed"] for step, name in (("small", "original"), ("small", "retrained-1"))
    ]
    assert seeds == [1009, 1001]
    model = units["airbench/retrained-0"]["result"]
    assert 0 <= model["accuracy_retained_tta"] <= 1
    assert model["cost"]["seconds"] > 0
    row = units["seeds/finetune-1"]["result"]
    assert row["failure"] is None
    assert (row["method"], row["variant"], row["seed"]) == ("finetune", "default", 1)
    bank = units["airbench-bank/bank"]["result"]
    assert bank["models"] == 9
    assert all(len(each["values"]) == 9 for each in bank["readings"].values())
    assert "| `finetune` | default | no |" in (made / "out" / "methods.md").read_text()
    assert units["cifar100/original-0"]["result"]["failure"] is None
    (forward, train) = units["imagenet/small-cnn,width=4"]["result"]["rows"]
    assert (forward["images"], train["images"]) == (38, 20)  # 5 % are held out


def test_few_small_files_come_out(made: Path) -> None:
    files = {path.name: path.stat().st_size for path in (made / "out").iterdir()}
    names = {"gpu.json", "methods.md", "methods.svg"}
    assert set(files) == names | {f"{name}.safetensors" for name in ("small", "small-residual", "airbench")}
    for name, dtype, models in (("small", torch.float32, 3), ("airbench", torch.float16, 4)):
        with safe_open(made / "out" / f"{name}.safetensors", "pt") as file:
            keys, facts = list(file.keys()), file.metadata()
            assert len({key.partition("/")[0] for key in keys}) == models
            assert file.get_tensor("original/head.weight").dtype == dtype
        told = json.loads(facts["models"])
        assert told["original"]["seed"] == 1009
        assert set(told) == {key.partition("/")[0] for key in keys}


def test_a_second_run_computes_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    before = json.loads((made / "out" / "gpu.json").read_text())
    for name in ("train_run", "bank", "one", "evaluated"):
        monkeypatch.setattr(gpu_course, name, never)
    monkeypatch.setattr(comparison_runs, "gather", never)
    assert run(made)["steps"] == before["steps"]


def test_data_that_nobody_named_are_left_out(tmp_path: Path) -> None:
    book = Book(tmp_path, tmp_path, None, smoke=True)
    gpu_course.Course(book, gpu_plan.SMOKE, {"cifar10": "parquet:digits"}).steps()["cifar100"]()
    assert book.left_out == ["cifar100 (nobody named cifar100)", "cifar100/original-0"]


def test_a_failing_unit_is_recorded_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = gpu_course.train_run

    def failing(spec: TrainSpec, output: Output, **told: Any) -> dict[str, Any]:
        if output.folder.name == "retrained-0":
            raise ValueError("injected")
        return train(spec, output, **told)

    with monkeypatch.context() as patch:
        patch.setattr(gpu_course, "train_run", failing)
        first = run(tmp_path, "--only", "small")["steps"]["small"]
    assert first["retrained-0"]["failure"]["type"] == "ValueError"
    assert first["retrained-0"]["failure"]["message"] == "injected"
    assert "injected" in first["retrained-0"]["failure"]["traceback"]
    assert first["retrained-1"]["failure"] is None
    again = run(tmp_path, "--only", "small")["steps"]["small"]
    assert all(unit["failure"] is None for unit in again.values())
    assert again["original"] == first["original"]


def test_without_time_everything_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = run(tmp_path, "--budget", "0")
    assert content["steps"] == {}
    assert {name.partition("/")[0] for name in content["left_out"]} >= {"small", "methods", "airbench-bank", "seeds"}
    (line,) = capsys.readouterr().out.splitlines()
    assert "left out: small/original, small/retrained-0" in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gpu.json"]


def test_a_unit_is_left_out_where_similar_ones_took_longer_than_is_left(tmp_path: Path) -> None:
    book = Book(tmp_path, tmp_path, 100.0, smoke=True)
    unit = {"failure": None, "result": {"done": True}}
    book.content["steps"] = {"small": {"original": unit | {"kind": "train small", "seconds": 200.0}}}
    assert book.unit("small", "retrained-0", "train small", dict) is None
    assert book.left_out == ["small/retrained-0"]
    book.content["steps"]["small"]["retrained-1"] = unit | {"kind": "train other", "seconds": 1.0}
    assert book.unit("other", "original", "train other", lambda: {"made": 1}) == {"made": 1}


def test_the_full_plan_names_what_there_is() -> None:
    for network in gpu_plan.FULL.networks.values():
        model = build_model(network.model, num_classes=10, in_channels=3)
        recipe = recipe_for(model, "crop_flip").with_settings(network.recipe)
        assert recipe.augment == "crop_flip"
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    known = candidates(recipe.model_dump(), gpu_plan.FULL.changes)
    assert {*gpu_plan.FULL.methods, "retrain"} == set(known) == {*METHODS, "unsir-no-noise"}
    assert set(gpu_plan.FULL.few) <= set(known)
    weights = build_model("airbench", num_classes=10, in_channels=3).state_dict().values()
    assert 4 * 2 * sum(value.numel() for value in weights) < gpu_plan.FILE_BYTES
