"""The benchmark that needs a GPU, gone through without one: its results, what is kept, and failures."""

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
import gpu_weights
import speed
from brief import shorten
from compare_methods import candidates
from gpu_book import Book
from gpu_course import Course
from unlearnkit.methods.registry import METHODS
from unlearnkit.models import build_model
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.training.from_scratch import recipe_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gpu")]  # one process makes the run that most look at


def run(folder: Path, *more: str) -> dict[str, Any]:
    """Go through the steps, and return what each of them wrote."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)  # no figure of an audit matters
        gpu.main(["--smoke", "--work", str(folder / "work"), "--out", str(folder / "out"), *more])
    return {path.stem: json.loads(path.read_text()) for path in (folder / "out").glob("*.json")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    run(folder)
    return folder


def test_every_step_is_done_and_has_a_file_of_its_own(made: Path) -> None:
    content = {step: json.loads((made / "out" / f"{step}.json").read_text()) for step in gpu_plan.STEPS}
    for step, each in content.items():
        assert (each["step"], each["smoke"], each["left_out"]) == (step, True, [])
        assert {"device", "name", "cpus"} <= set(each["hardware"])
    units = {f"{step}/{name}": unit for step, each in content.items() for name, unit in each["units"].items()}
    assert [name for name, unit in units.items() if unit["failure"] is not None] == []
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
    short = Book(made / "work", made / "out", None, smoke=True).short_of_goal()  # the smoke test asks for 101 %
    assert [name.partition(" ")[0] for name in short] == [
        f"airbench/{name}" for name in sorted(content["airbench"]["units"])
    ]
    assert short[0].endswith(" of 101 %)")
    bank = units["airbench-bank/bank"]["result"]
    assert bank["models"] == 3
    assert all(len(each["values"]) == 3 for each in bank["readings"].values())
    assert "| `finetune` | default | no |" in (made / "out" / "methods.md").read_text()
    assert units["cifar100/original-0"]["result"]["failure"] is None
    (forward, train) = units["imagenet/small-cnn,width=4"]["result"]["rows"]
    assert (forward["images"], train["images"]) == (38, 20)  # 5 % are held out


def test_the_ways_are_timed_beside_trainings_of_the_same_network(made: Path) -> None:
    steps = {step: json.loads((made / "out" / f"{step}.json").read_text())["units"] for step in ("speed", "airbench")}
    timed = steps["speed"]["airbench"]["result"]
    assert {"published", "unsir, paper", "erase"} < timed["ways"].keys()
    trained = [steps["airbench"][f"retrained-{i}"]["result"]["cost"]["seconds"] for i in range(3)]
    assert sorted(timed["retraining_seconds"]) == sorted(trained)
    epoch = timed["beside"]["the article's"] / speed.ARTICLE_EPOCHS
    assert timed["beside"]["the reference's recipe"] == pytest.approx(epoch)  # the smoke test's recipe has one


def test_few_small_files_come_out(made: Path) -> None:
    files = {path.name: path.stat().st_size for path in (made / "out").iterdir()}
    names = {"methods.md", "methods.svg", *(f"{step}.json" for step in gpu_plan.STEPS)}
    assert set(files) == names | {f"{name}.safetensors" for name in ("small", "small-residual", "airbench")}
    for name, dtype, models in (("small", torch.float32, 3), ("airbench", torch.float16, 4)):
        with safe_open(made / "out" / f"{name}.safetensors", "pt") as file:
            keys, facts = list(file.keys()), file.metadata()
            assert len({key.partition("/")[0] for key in keys}) == models
            assert file.get_tensor("original/head.weight").dtype == dtype
        told = json.loads(facts["models"])
        assert told["original"]["seed"] == 1009
        assert set(told) == {key.partition("/")[0] for key in keys}


def test_weights_are_spread_over_files_of_a_bounded_size(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = json.loads((made / "out" / "small.json").read_text())["units"]
    one = (made / "work" / "small" / "original" / WEIGHTS).stat().st_size
    monkeypatch.setattr(gpu_weights, "FILE_BYTES", int(1.5 * one))
    gpu_weights.packed(made / "work" / "small", done, "airbench", tmp_path, dtype=torch.float32, smoke=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "small-2.safetensors",
        "small-3.safetensors",
        "small.safetensors",
    ]


def test_a_second_run_computes_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    before = {step: json.loads((made / "out" / f"{step}.json").read_text())["units"] for step in gpu_plan.STEPS}
    for name in ("train_run", "bank", "one", "evaluated"):
        monkeypatch.setattr(gpu_course, name, never)
    monkeypatch.setattr(speed, "compared", never)
    monkeypatch.setattr(comparison_runs, "gather", never)
    assert {step: each["units"] for step, each in run(made).items()} == before


def test_steps_whose_data_are_not_there_are_left_out(tmp_path: Path) -> None:
    book = Book(tmp_path, tmp_path, None, smoke=True)
    steps = {step.name: step for step in Course(book, gpu_plan.SMOKE, {"cifar10": "parquet:digits"}).steps()}
    assert {name for name, step in steps.items() if step.missing} == {"cifar100"}
    book.do(steps["cifar100"])
    assert book.left_out == ["cifar100 (no cifar100 in --data)"]
    assert list(tmp_path.iterdir()) == []


def test_a_failing_unit_is_recorded_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = gpu_course.train_run

    def failing(spec: TrainSpec, output: Output, **told: Any) -> dict[str, Any]:
        if output.folder.name == "retrained-0":
            raise ValueError("injected")
        return train(spec, output, **told)

    with monkeypatch.context() as patch:
        patch.setattr(gpu_course, "train_run", failing)
        first = run(tmp_path, "--only", "small")["small"]["units"]
    assert first["retrained-0"]["failure"]["type"] == "ValueError"
    assert first["retrained-0"]["failure"]["message"] == "injected"
    assert "injected" in first["retrained-0"]["failure"]["traceback"]
    assert first["retrained-1"]["failure"] is None
    again = run(tmp_path, "--only", "small")["small"]["units"]
    assert all(unit["failure"] is None for unit in again.values())
    assert again["original"] == first["original"]


def test_without_time_everything_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--budget", "0") == {}
    *planned, line = capsys.readouterr().out.splitlines()
    assert planned[-1] == "planned: 0 units, 0 s of 0 s"
    for step in gpu_plan.STEPS:
        assert f" {step}/" in line
    assert list((tmp_path / "out").iterdir()) == []


def test_the_full_plan_names_what_there_is() -> None:
    for network in gpu_plan.FULL.networks.values():
        model = build_model(network.model, num_classes=10, in_channels=3)
        recipe = recipe_for(model, "crop_flip").with_settings(network.recipe)
        assert recipe.augment == "crop_flip"
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    known = candidates(recipe.model_dump(), gpu_plan.FULL.changes)
    full = gpu_plan.FULL
    assert {*full.headline, *full.others, "retrain"} == set(known) == {*METHODS, "unsir-no-noise"}
    assert not set(full.headline) & set(full.others)
    assert set(full.hundred) <= set(known)
    weights = build_model("airbench", num_classes=10, in_channels=3).state_dict().values()
    assert 4 * 2 * sum(value.numel() for value in weights) < gpu_plan.FILE_BYTES
