"""A suite's plan: what will be done, what of it cannot be, and what that costs; nothing is written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unlearnkit.compare.work as work
from commands import assert_refused, run_cli, tree
from row_data import write_people
from suites import TINY, comparison, tiny
from unlearnkit.compare.cells import cells_of
from unlearnkit.compare.held import Entry, seeds_held
from unlearnkit.compare.passes import PASSES, USUAL
from unlearnkit.compare.plan import AUDIT, OPENING, _searched, costs, plan
from unlearnkit.compare.speed import Speed, _of_a_sample
from unlearnkit.compare.speed import measured as measured_speed
from unlearnkit.compare.suite import read_suite
from unlearnkit.data import load_data
from unlearnkit.errors import ModelError
from unlearnkit.runtime.runtime import Runtime


@pytest.fixture(scope="module")
def speed() -> Speed:
    """Digits on a machine that takes a second for each sample, and ten epochs."""
    place = work.Place(out=Path("out"), bank=Path("bank"), device="cpu")
    return replace(measured_speed(tiny().settings[0], place), sample_seconds=1.0, epochs=10)


def planned(speed: Speed, entries: Sequence[Entry] = (), **changed: Any) -> dict[str, float]:
    """What a tiny suite costs in seconds, those apart that every run takes to open."""
    cells = cells_of(tiny(**({"methods": [{"name": "original"}]} | changed)))
    parts = {cell.request: speed.parted(cell.request) for cell in cells}
    found = costs(cells, speed, parts, entries)
    runs = next(name for name in found if name.endswith((" run", " runs")))
    return found | {"runs": found[runs] - len(cells) * (OPENING[0] + OPENING[1] * speed.samples)}


def on_digits(**request: Any) -> list[dict[str, Any]]:
    return [TINY["settings"][0] | {"requests": [request]}]


ALL, THREES, LEARNED_THREES = 1_372, 147, 140  # training samples that are learned, threes, and threes that are learned


def test_trainings_and_audits_are_counted_for_each_original_and_request(speed: Speed) -> None:
    found = planned(speed, training_seeds=[0, 1], unlearning_seeds=[0, 1, 2])
    assert found["2 originals"] == 2 * 10 * ALL
    assert found["3 retrained models"] == 3 * 10 * (ALL - LEARNED_THREES), "both originals share them"
    assert found["audits"] == AUDIT["quick"] * (6 + 2 * 4)
    assert found["runs"] == 0


def test_a_run_costs_what_its_method_passes_for_each_request_of_a_sequence(speed: Speed) -> None:
    once = 9.0 * (ALL - LEARNED_THREES) + 9.0 * THREES + (ALL - LEARNED_THREES)  # rates are tried first
    assert planned(speed, methods=[{"name": "neggrad+"}])["runs"] == pytest.approx(once)
    two = planned(speed, methods=[{"name": "ssd"}], settings=on_digits(forget=["3"], after=[["4"]]))["runs"]
    fours = int((speed.images.labels("train") == 4).sum())
    learned = ALL - LEARNED_THREES - round(0.95 * fours)
    assert two == pytest.approx(2 * (learned + THREES), rel=0.01)
    assert planned(speed, methods=[{"name": "retrain"}])["runs"] == 10 * (ALL - LEARNED_THREES)


def test_a_plan_names_settings_whose_cost_is_not_known_once(tmp_path: Path) -> None:
    def lines(*methods: dict[str, Any], requests: Sequence[Any] = ({"forget": ["3"]}, {"forget": ["4"]})) -> list[str]:
        cells = cells_of(tiny(settings=[TINY["settings"][0] | {"requests": requests}], methods=list(methods)))
        place = work.Place(out=tmp_path / "out", bank=tmp_path / "bank", device="cpu")
        return [line for line in plan(cells, cells, place, 1).lines if "as the methods come" in line]

    known = {"name": "finetune", "set": ["recipe.epochs=3"]}
    assert lines(known) == []
    unknown = {"name": "ntk", "label": "few", "set": ["per_class=4"]}
    (line,) = lines(known, unknown, {"name": "jit", "preset": "paper"})
    assert line.startswith("few (per_class), jit (copies): ")
    assert lines(unknown, requests=[{"forget": ["cat"]}]) == [], "it cannot be run"


def test_a_method_of_another_package_is_planned_as_most_methods(
    speed: Speed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(PASSES, "finetune")  # as if it came from elsewhere
    named = {"name": "finetune", "set": ["recipe.epochs=3"]}
    learned = ALL - LEARNED_THREES
    assert planned(speed, methods=[named])["runs"] == pytest.approx(USUAL.of(learned, THREES))
    place = work.Place(out=tmp_path / "out", bank=tmp_path / "bank", device="cpu")
    cells = cells_of(tiny(methods=[named, {"name": "retrain"}, {"name": "ssd"}]))
    (line,) = (line for line in plan(cells, cells, place, 1).lines if "nothing is known" in line)
    assert line == "finetune: estimated as what most methods pass, since nothing is known of it"


def test_a_retraining_of_other_epochs_is_counted_so(speed: Speed) -> None:
    once = planned(speed, methods=[{"name": "retrain", "set": ["epochs=3"]}])["runs"]
    assert once == pytest.approx(3 * (ALL - LEARNED_THREES))


def test_a_search_is_counted_once_for_all_seeds_of_a_method(speed: Speed) -> None:
    method = {"name": "neggrad", "trials": 5}
    assert planned(speed, methods=[method], unlearning_seeds=[0, 1])["runs"] == pytest.approx((2 + 5) * 7.0 * THREES)


def test_a_search_that_is_done_is_not_counted_again(speed: Speed, tmp_path: Path) -> None:
    place = work.Place(out=tmp_path, bank=tmp_path / "none", device="cpu")
    cells = cells_of(tiny(methods=[{"name": "neggrad", "trials": 5}]))
    parts = {cell.request: speed.parted(cell.request) for cell in cells}
    (search,) = {cell.search for cell in cells}
    assert search is not None
    (place.searches / search).mkdir(parents=True)
    before = costs(cells, speed, parts, [], searched=_searched(cells, place))
    (place.searches / search / work.FOUND).write_text("{}")
    after = costs(cells, speed, parts, [], searched=_searched(cells, place))
    assert before["1 run"] - after["1 run"] == pytest.approx(5 * 7.0 * THREES)


class InTwo(nn.Module):
    """Returns an object with logits, and takes few images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.linear, self.most, self.sizes = nn.Linear(64, 10), most, list[int]()

    def forward(self, images: Tensor) -> SimpleNamespace:
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return SimpleNamespace(logits=self.linear(images.flatten(1)))


def test_a_step_is_timed_of_any_model_and_with_fewer_images_where_memory_runs_out(speed: Speed) -> None:
    runtime = work.Place(out=Path("out"), bank=Path("bank"), device="cpu").runtime()
    model = InTwo(most=20)
    assert _of_a_sample(model, speed.images, runtime) > 0
    assert model.sizes == [64, 32, 16, 16, 16, 16]
    with pytest.raises(ModelError, match=r"a training step of the model on 2 images .* but it fails \(.*out of memory"):
        _of_a_sample(InTwo(most=1), speed.images, runtime)
    with pytest.raises(ModelError, match="see whether it can be trained"):
        _of_a_sample(nn.Linear(3, 10), speed.images, runtime)


class Watched(nn.Module):
    """Two convolutions; notes whether images and weights lie channels-last, the threads, and the type of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 4), nn.Conv2d(4, 10, 29)
        self.seen, self.threads, self.made = list[bool](), set[int](), list[torch.dtype]()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(not images.is_contiguous() and not self.second.weight.is_contiguous())
        self.threads.add(torch.get_num_threads())
        logits: Tensor = self.second(self.first(images)).flatten(1)
        self.made.append(logits.dtype)
        return logits


def test_a_step_is_timed_as_a_training_computes_it_but_in_one_thread(tmp_path: Path) -> None:
    write_people(tmp_path / "people")
    images = load_data(f"parquet:{tmp_path / 'people'}", image_size=32, label_column="label")
    images.fix_shape(0)
    model, before = Watched(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert _of_a_sample(model, images, Runtime(device=torch.device("cpu"), precision="bf16")) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert model.threads == {1}
    assert all(model.seen[-4:])  # before them somebody has tried whether the layout is taken
    assert set(model.made[-4:]) == {torch.bfloat16}


def test_rows_are_counted_and_those_that_are_not_there_are_named(speed: Speed, tmp_path: Path) -> None:
    rows = planned(speed, methods=[{"name": "neggrad"}], settings=on_digits(rows=[4, 9, 11]))
    assert rows["runs"] == pytest.approx(7.0 * 3)
    cells = cells_of(tiny(methods=[{"name": "original"}], settings=on_digits(rows=[99_999])))
    lines = plan(cells, cells, work.Place(out=tmp_path, bank=tmp_path / "none", device="cpu"), 1).lines
    assert "1 cell cannot be run: Expected rows of the training data, 0 to " in lines[1]


def test_a_plan_of_first_rows_writes_nothing_and_sees_what_a_run_sees(tmp_path: Path) -> None:
    write_people(tmp_path / "people")
    file = tmp_path / "suite.toml"
    requests = "{ subclass = ['ant:red'] }, { where = ['person=p1'] }, { forget = ['bee'] }"
    file.write_text(
        'title = "people"\n[[settings]]\ndata = "parquet:{data}/people"\nmodel = "small-cnn,width=4"\nsamples = 30\n'
        f'label_column = "label"\nrequests = [{requests}]\n[[methods]]\nname = "finetune"\n'
    )
    before = tree(tmp_path)
    at = ("--out", tmp_path / "out", "--bank", tmp_path / "bank", "--data", tmp_path, "--device", "cpu")
    done = run_cli("compare", file, *at, "--plan")
    assert done.code == 0, done.err
    assert "1 original " in done.out
    assert "cannot be run" not in done.out
    assert tree(tmp_path) == before

    place = work.Place(out=tmp_path / "out", bank=tmp_path / "bank", data=tmp_path, device="cpu")
    suite = read_suite(str(file))[1]
    setting = suite.settings[0]
    then = measured_speed(setting, place)
    copy = place.source(setting)
    now = measured_speed(setting.model_copy(update={"data": copy, "samples": None}), place)
    assert then.samples == 27
    assert (then.samples, then.trained, then.source) == (now.samples, now.trained, now.source)
    assert [then.parted(request) for request in setting.requests] == [now.parted(each) for each in setting.requests]
    cells = cells_of(suite.model_copy(update={"settings": (setting.model_copy(update={"samples": 99}),)}))
    assert (
        "3 cells cannot be run: Expected at least 99 training rows in parquet:" in plan(cells, cells, place, 1).lines[1]
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A suite of one cell of digits and one of data that {data} may have."""
    path = tmp_path / "suite.toml"
    other = '[[settings]]\ndata = "{}"\nmodel = "small-cnn,width=4"\nrequests = [{{ forget = ["3"] }}]\n'
    settings = [other.format(data) for data in ("digits", "parquet:{data}/none")]
    path.write_text("\n".join(['title = "two"', *settings, '[[methods]]\nname = "original"']))
    return path


def test_a_plan_of_which_nothing_can_be_run_ends_as_the_run_does(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNLEARNKIT_DATA", raising=False)
    at = ("--out", tmp_path / "out", "--bank", tmp_path / "bank", "--plan")
    reason = "Expected a folder for {data} in the suite's source parquet:{data}/none, but none was named; give --data"
    done = run_cli("compare", file, *at, "--device", "cpu")
    assert done.code == 0, "one of two cells can be"
    assert reason in done.out
    assert done.out.splitlines()[-1].startswith("about ")
    text = file.read_text()
    file.write_text(text.replace('"digits"', '"parquet:{data}/more"'))
    done = run_cli("compare", file, *at, "--device", "cpu")
    assert (done.code, done.err) == (1, "")
    assert reason in done.out
    assert done.out.splitlines()[-1] == "nothing of this can be run"
    run = run_cli("compare", file, *at[:-1], "--device", "cpu")
    assert run.code == done.code
    assert f"not run: {reason}" in run.out
    assert "2 cells failed" in run.out
    file.write_text(text.replace("small-cnn,width=4", "timm:resnet18x", 1))
    done = run_cli("compare", file, *at, "--device", "cpu")
    assert done.code == 1
    assert "got 'resnet18x'; did you mean resnet18 or" in done.out
    assert done.out.count("1 cell cannot be run: Expected a") == 2


def test_a_model_that_cannot_take_the_images_is_named(tmp_path: Path) -> None:
    def said(**changed: Any) -> str:
        cells = cells_of(tiny(settings=[TINY["settings"][0] | changed], methods=[{"name": "original"}]))
        return plan(cells, cells, work.Place(out=tmp_path, bank=tmp_path / "none", device="cpu"), 1).lines[1]

    assert "1 cell cannot be run: Expected a model that takes images of shape (1, 8, 8)" in said(
        model="airbench,width=4"
    )
    assert "but got 16; leave that out (--image-size and --crop-pct, or image_size in a suite)" in said(image_size=16)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--backend", "lokey"), "did you mean 'loky'"),
        (("--backend", "multiprocessing"), "leave --backend out"),
        (("--backend", "dask", "--address", "tcp://127.0.0.1:1"), "none answers"),
        (("--backend", "ray"), "pip install ray"),
        (("--backend", "dask"), "--address tcp://HOST:PORT"),
        (("--address", "tcp://127.0.0.1:1"), "beside --address"),
        (("--jobs", "0"), "at least one job"),
        (("--device", "cudaa"), "a device that this machine has (cpu, cuda, cuda:N or mps), but got 'cudaa'"),
        (("--device", "cpu:x"), "but got 'cpu:x'"),
        (("--device", "cudaa", "--backend", "dask", "--address", "tcp://127.0.0.1:1"), "but got 'cudaa'"),
        (("--device", "cuda:99", "--backend", "dask", "--address", "tcp://127.0.0.1:1"), "none answers"),
    ],
)
@pytest.mark.parametrize("plan", [("--plan",), ()])
def test_a_plan_refuses_the_workers_and_devices_that_a_run_refuses(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], reason: str, plan: tuple[str]
) -> None:
    def silent(*_: object, **__: object) -> None:
        raise OSError("Timed out")

    if "tcp://127.0.0.1:1" in words and "dask" in words:
        reason_to_skip = "Expected Dask; do `pip install unlearnkit[cluster]`."
        monkeypatch.setattr(pytest.importorskip("distributed", reason=reason_to_skip), "Client", silent)
    monkeypatch.setitem(sys.modules, "ray", None)
    at = ("--out", tmp_path / "out", "--bank", tmp_path / "bank", "--device", "cpu")
    assert_refused(run_cli("compare", file, *at, *words, *plan), reason)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "bank").exists()


def test_to_judge_again_costs_audits_and_models_that_are_gone(speed: Speed) -> None:
    cells = cells_of(tiny(methods=[{"name": "neggrad"}, {"name": "finetune", "trials": 4}]))
    parts = {cell.request: speed.parted(cell.request) for cell in cells}
    opening = OPENING[0] + OPENING[1] * speed.samples
    audits = AUDIT["quick"] * (1 + 4)
    alone = costs(cells[:1], speed, parts, [], again={cells[0].name})
    assert alone == {
        "1 original": 10 * ALL,
        "3 retrained models": 3 * 10 * (ALL - LEARNED_THREES),
        "audits": audits + opening,
    }
    both = costs(cells, speed, parts, [], again={cells[1].name})
    assert both["1 run"] == pytest.approx(7.0 * THREES + opening)
    assert both["audits"] == pytest.approx(audits + AUDIT["quick"] + opening)


def test_copies_of_first_rows_are_the_same_data_in_every_folder(speed: Speed) -> None:
    name = "0123456789abcdef"
    here, there = (f"parquet:/{folder}/data/{name}" for folder in ("here", "there"))
    held = [Entry(replace(speed.trained, data="as hashed"), there)]
    assert seeds_held(held, speed.trained, here, [0]) == 1
    assert seeds_held(held, speed.trained, here.replace("0", "1"), [0]) == 0
    assert seeds_held(held, speed.trained, f"parquet:/here/{name}", [0]) == 0, "no copy that a comparison made"


def test_models_of_the_bank_cost_nothing(speed: Speed) -> None:
    def entry(seed: int, **more: Any) -> Entry:
        return Entry(replace(speed.trained, data="as hashed", seed=seed, **more), "digits")

    held = [entry(0), entry(1000, excluded=("3",)), entry(1001, excluded=("3",)), entry(1002, excluded=("4",))]
    found = planned(speed, held, training_seeds=[0, 1])
    assert found["2 originals (1 in the bank)"] == 10 * ALL
    assert found["3 retrained models (2 in the bank)"] == 10 * (ALL - LEARNED_THREES)


@pytest.mark.slow
@pytest.mark.xdist_group("suites")
def test_what_the_bank_holds_costs_nothing(tmp_path: Path) -> None:
    comparison(tiny(methods=[{"name": "original"}]), tmp_path, []).run()
    bank = tmp_path / "bank"

    def line(**changed: Any) -> str:
        suite = tiny(**({"methods": [{"name": "original"}], "unlearning_seeds": [9]} | changed))
        cells = cells_of(suite)
        return plan(cells, cells, work.Place(out=tmp_path / "new", bank=bank, device="cpu"), 1).lines[1]

    def setting(**changed: Any) -> dict[str, Any]:
        return TINY["settings"][0] | changed

    held = "1 original (1 in the bank) 0 s, 3 retrained models (3 in the bank) 0 s"
    assert held in line()
    assert "2 originals (1 in the bank) " in line(training_seeds=[0, 1])
    assert "4 retrained models (3 in the bank) " in line(retrained=4)
    other = line(settings=[setting(requests=[{"forget": ["4"]}])])
    assert "1 original (1 in the bank) 0 s, 3 retrained models " in other
    assert other.count("in the bank") == 1, "they lack another class"
    assert "in the bank" not in line(settings=[setting(recipe=["epochs=2"])])
    assert "in the bank" not in line(settings=[setting(model="small-cnn,width=5")])
    rows = line(settings=[setting(requests=[{"rows": [4, 9]}])])
    assert rows.count("in the bank") == 1, "rows are told by their images, which a plan does not read"
    for folder in bank.iterdir():  # as if trained on data of another name
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"data": "npz:other"}))
    assert "in the bank" not in line()
    shutil.rmtree(bank)
    bank.mkdir()
    (bank / ("0" * 32)).mkdir()
    assert "in the bank" not in line(), "what cannot be read is trained again"
