"""The benchmark that needs a GPU, gone through without one: its results, what is kept, and failures."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

import comparison_runs
import gpu
import gpu_course
import gpu_plan
import gpu_weights
import imagenet_shaped
import speed
from brief import shorten
from compare_methods import candidates
from gpu_book import Book
from gpu_course import Course
from unlearnkit import Runtime
from unlearnkit.methods.registry import METHODS
from unlearnkit.models import build_model
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.steps.checkpoints import place_of
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.training.from_scratch import recipe_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gpu")]  # one process makes the run that most look at


def run(folder: Path, *more: str, ends: int = 0) -> dict[str, Any]:
    """Go through the steps, and return what each of them wrote."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        shorten(patch)  # no figure of an audit matters
        if ends:
            stack.enter_context(pytest.raises(SystemExit, match=str(ends)))
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
    asked = content["airbench"]["asked"]  # of the smoke test's, 101 %
    short = Book(made / "work", made / "out", None, smoke=True, asked=asked).short_of_goal()
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
    names = {"methods.md", "methods.svg", "run.json", *(f"{step}.json" for step in gpu_plan.STEPS)}
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
    again = run(made)
    assert again.pop("run")["left_out"] == []
    assert {step: each["units"] for step, each in again.items()} == before


def test_a_training_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, resumed = gpu_course.train_run, []

    def killed_once(spec: TrainSpec, output: Output, **told: Any) -> dict[str, Any]:
        left = place_of(output.folder)
        if not resumed and not left.is_file():
            left.parent.mkdir(parents=True, exist_ok=True)
            left.write_bytes(b"half a training")
            raise KeyboardInterrupt
        resumed.append(told["resume"])
        left.unlink(missing_ok=True)
        return train(spec, output, **(told | {"resume": False}))

    monkeypatch.setattr(gpu_course, "train_run", killed_once)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "--only", "small")
    content = run(tmp_path, "--only", "small")["small"]["units"]
    assert resumed == [True, False, False]
    assert all(unit["failure"] is None for unit in content.values())


def test_steps_whose_data_are_not_there_are_left_out(tmp_path: Path) -> None:
    book = Book(tmp_path, tmp_path, None, smoke=True)
    steps = {step.name: step for step in Course(book, gpu_plan.SMOKE, {"cifar10": "parquet:digits"}).steps()}
    assert {name for name, step in steps.items() if step.missing} == {"cifar100"}
    book.do(steps["cifar100"])
    assert book.left_out == ["cifar100 (no cifar100 in --data)"]
    told = json.loads((tmp_path / "run.json").read_text())
    assert (told["left_out"], told["failures"]) == (book.left_out, {})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_failing_unit_is_recorded_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = gpu_course.train_run

    def failing(spec: TrainSpec, output: Output, **told: Any) -> dict[str, Any]:
        if output.folder.name == "retrained-0":
            raise ValueError("injected")
        return train(spec, output, **told)

    with monkeypatch.context() as patch:
        patch.setattr(gpu_course, "train_run", failing)
        first = run(tmp_path, "--only", "small", ends=1)["small"]["units"]
    assert first["retrained-0"]["failure"]["type"] == "ValueError"
    assert first["retrained-0"]["failure"]["message"] == "injected"
    assert "injected" in first["retrained-0"]["failure"]["traceback"]
    assert first["retrained-1"]["failure"] is None
    again = run(tmp_path, "--only", "small")["small"]["units"]
    assert all(unit["failure"] is None for unit in again.values())
    assert again["original"] == first["original"]


def test_without_time_everything_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(run(tmp_path, "--budget", "0", ends=1)) == ["run"]
    *planned, line = capsys.readouterr().out.splitlines()
    assert planned[-1] == "planned: 0 units, 0 s of 0 s"
    for step in gpu_plan.STEPS:
        assert f" {step}/" in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]


def test_networks_of_imagenets_shape_are_put_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, used = list[nn.Module](), list[nn.Module]()

    def weights(_: Runtime, model: nn.Module) -> nn.Module:
        moved.append(model)
        return model

    monkeypatch.setattr(Runtime, "weights", weights)
    for name in ("predict", "train"):
        monkeypatch.setattr(imagenet_shaped, name, lambda model, *_args, **_more: used.append(model))
    asked = argparse.Namespace(**vars(gpu_plan.SMOKE.shaped), work=tmp_path, workers=1)
    imagenet_shaped.generate(tmp_path, asked.images, asked.classes)
    imagenet_shaped.through("small-cnn,width=4", asked)
    assert len(moved) == 1
    assert used
    assert all(model is moved[0] for model in used)


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
