"""SISA end to end: what forgetting gives is, to the last bit, what training without the samples gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from commands import assert_refused, run_cli
from trained_once import CPU, TINY, trained
from unlearnkit.data.choosing_rows import RowChoice
from unlearnkit.errors import RequestError, UnlearnkitError, WeightsError
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.methods.sisa import slice_name
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.steps.export import export_run
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.retrain import retrain_run
from unlearnkit.steps.rows import RowRequest
from unlearnkit.steps.specs import CaseSpec, RetrainSpec, TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.steps.verify import verify_run
from unlearnkit.training.sharding import ShardedTraining, Sharding

SHARDS, SLICES = 3, 2
SPEC = TrainSpec(
    model=TINY,
    data="digits",
    settings=("epochs=2", "batch_size=200", "augment=crop_flip"),
    sharding=Sharding(shards=SHARDS, slices=SLICES),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of several threads may differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Place:
    """A model trained in shards, and a request for rows of its second and third shard, one of them in a first slice."""

    folder: Path
    original: Path
    rows: Path
    touched: dict[int, int]

    def forget(self, out: str, *classes: str, weights: Path | None = None, rows: Path | None = None) -> Path:
        wanted = RowRequest(choice=RowChoice(file=rows), duplicates=False)
        spec = CaseSpec(weights=(weights or self.original) / WEIGHTS, data="digits", forget=classes, rows=wanted)
        forget_run(spec, MethodChoice("sisa"), Output(self.folder / out), audit=None, runtime=CPU, seed=9)
        return self.folder / out

    def train(self, out: str, **changes: Any) -> Path:
        train_run(replace(SPEC, **changes), Output(self.folder / out), seed=4, runtime=CPU)
        return self.folder / out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("sisa")
    train_run(SPEC, Output(folder / "original"), seed=4, runtime=CPU)
    card = read_checkpoint(folder / "original" / WEIGHTS).card
    assert card is not None
    assert card.sharded is not None
    cells = ShardedTraining(**card.sharded).cells()
    # some of these may be held out for validation: four of each leave some that are not
    rows = torch.cat([torch.nonzero(cells == cell).flatten()[:4] for cell in (2, 5)])
    (folder / "rows.csv").write_text("\n".join(["row", *map(str, rows.tolist())]))
    return Place(folder, folder / "original", folder / "rows.csv", {1: 0, 2: 1})


@pytest.fixture(scope="module")
def without_rows(place: Place) -> Path:
    return place.forget("without-rows", rows=place.rows)


def states(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Every weights file of a run folder that decides what later requests give."""
    names = [WEIGHTS, *(slice_name(s, r) for s in range(SHARDS) for r in range(SLICES))]
    return {name: load_file(run / name) for name in names}


def assert_same(one: Path, other: Path) -> None:
    for name, state in states(one).items():
        assert state.keys() == (others := states(other)[name]).keys()
        assert all(torch.equal(value, others[key]) for key, value in state.items()), name


def test_rows_are_forgotten_exactly(place: Place, without_rows: Path) -> None:
    """The definition of exact unlearning: equal to the training that never had them, and so is every state kept."""
    assert_same(without_rows, place.train("never-had-rows", exclude_rows=RowChoice(file=place.rows)))
    assert read_json(without_rows, "access.json")["forget_samples_read"] == 0
    assert verify_run(without_rows)["ok"]


def test_what_was_not_touched_is_bit_equal(place: Place, without_rows: Path) -> None:
    before, after = states(place.original), states(without_rows)
    for shard in range(SHARDS):
        first = place.touched.get(shard, SLICES)
        for number in range(SLICES):
            old, new = before[slice_name(shard, number)], after[slice_name(shard, number)]
            same = all(torch.equal(old[key], new[key]) for key in old)
            assert same == (number < first), (shard, number)
        body = [key for key in before[WEIGHTS] if key.startswith(f"bodies.{shard}.")]
        assert len(body) > 3
        kept = all(torch.equal(before[WEIGHTS][key], after[WEIGHTS][key]) for key in body)
        assert kept == (shard not in place.touched)


def test_the_cost_counts_what_was_trained_again(place: Place, without_rows: Path) -> None:
    notes = read_json(without_rows, "config.json")["notes"]["sisa"]
    cost = read_json(without_rows, "cost.json")["total"]
    assert (notes["touched"], notes["shards"]) == (2, SHARDS)
    assert notes["passes"] == cost["samples_forward"] == cost["samples_backward"]
    whole = read_json(place.original, "cost.json")["total"]
    assert whole["samples_backward"] > notes["retraining"] > notes["passes"]


@pytest.mark.slow
def test_a_class_after_rows_is_forgotten_exactly_and_costs_what_retraining_costs(
    place: Place, without_rows: Path
) -> None:
    out = place.forget("and-class", "3", weights=without_rows)
    never = place.train("never-had-both", exclude=("3",), exclude_rows=RowChoice(file=place.rows))
    assert_same(out, never)
    notes = read_json(out, "config.json")["notes"]["sisa"]
    assert notes["touched"] == SHARDS
    assert notes["passes"] == notes["retraining"]
    smaller = place.folder / "exported"
    export_run(out, Output(smaller))
    card = read_checkpoint(smaller / WEIGHTS).card
    assert card is not None
    assert (len(card.classes), card.sharded) == (9, None)
    read_checkpoint(smaller / WEIGHTS).load_into(build_model(card.model, num_classes=9, in_channels=1))


def test_the_card_and_the_configuration_record_the_plan(place: Place, without_rows: Path) -> None:
    for run in (place.original, without_rows):
        card = read_checkpoint(run / WEIGHTS).card
        assert card is not None
        assert card.model == f"sharded:{SHARDS}:{TINY}"
        assert card.sharded == read_json(place.original, "config.json")["sharded"]
    assert {"shards", "slices", "seed", "assignment", "recipe"} <= read_json(place.original, "config.json")[
        "sharded"
    ].keys()


@pytest.mark.slow
def test_the_command_line_goes_on_from_a_run_and_takes_sisa_by_itself(place: Place, brief_audits: None) -> None:
    out = place.folder / "by-command"
    done = run_cli("forget", "--of", place.original, "--forget-rows", place.rows, "--quick", "--out", out, "--seed", 9)
    assert done.code == 0, done.err
    assert "retrained 2 of 3 shards" in done.out
    assert json.loads((out / "config.json").read_text())["method"] == "sisa"
    assert (out / "report.html").is_file()  # the ensemble has one head, and is audited as any network
    assert_same(out, place.forget("again", rows=place.rows))


def test_references_are_trained_in_shards_too(place: Place, tmp_path: Path) -> None:
    made = retrain_run(RetrainSpec(of=place.original, exclude=("3",), count=1), tmp_path / "bank", runtime=CPU)
    card = read_checkpoint(made["references"][0]["path"]).card
    assert card is not None
    assert card.sharded is not None
    assert (card.sharded["shards"], card.sharded["slices"], card.sharded["seed"]) == (SHARDS, SLICES, 5)
    identity = read_json(Path(made["references"][0]["path"]).parent, "reference.json")
    assert identity["recipe"]["sharding"] == {"shards": SHARDS, "slices": SLICES}


@pytest.mark.parametrize(
    ("changes", "resume", "says"),
    [
        ({"sharding": Sharding(shards=40, slices=40)}, False, "Expected at most 1372 slices in all shards together"),
        ({"model": f"sharded:2:{TINY}"}, False, "Expected the architecture of one network"),
        ({"init": Path("w.safetensors")}, False, "Expected fresh networks for --shards"),
        ({"pretrained": True, "model": "timm:resnet18"}, False, "but got --pretrained"),
        ({}, True, "Expected no --resume with --shards"),
    ],
)
def test_what_cannot_be_trained_in_shards_is_refused(
    tmp_path: Path, changes: dict[str, Any], resume: bool, says: str
) -> None:
    with pytest.raises(UnlearnkitError, match=says):
        train_run(replace(SPEC, **changes), Output(tmp_path / "out"), runtime=CPU, resume=resume)
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_not_trained_so_is_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    done = run_cli(
        "forget", "--of", whole, "--forget", "3", "--method", "sisa", "--no-audit", "--out", tmp_path / "out"
    )
    assert_refused(done)
    assert "Expected a model that was trained with `unlearnkit train --shards`, but got another model" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "--model", TINY, "--data", "digits", "--slices", 2), "Expected --shards with --slices"),
        (("train", "--model", TINY, "--data", "digits", "--shards", 0), "Sharding"),
        (("train", "--model", TINY, "--data", "digits", "--shards", 2, "--dp-epsilon", 3), "but got both"),
        (("train", "--model", TINY, "--data", "digits", "--dp-delta", 0.1), "Expected --dp-epsilon"),
        (("forget", "--forget", "3"), "Expected the data of the model"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, words: tuple[object, ...], says: str) -> None:
    done = run_cli(*words, "--out", tmp_path / "out")
    assert_refused(done)
    assert says in done.err


def test_states_that_are_gone_or_of_another_model_are_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(place.original / WEIGHTS, tmp_path / "alone")
    with pytest.raises(WeightsError, match="Expected the state of a shard in"):
        place.forget("nothing", "3", weights=tmp_path / "alone")
    changed = tmp_path / "changed"
    shutil.copytree(place.original, changed)
    last = changed / slice_name(0, SLICES - 1)
    save_file({key: value + 1 if value.is_floating_point() else value for key, value in load_file(last).items()}, last)
    with pytest.raises(WeightsError, match="it has changed since"):
        place.forget("nothing", "3", weights=changed)
    (changed / "manifest.json").unlink()  # the weights themselves tell the last states
    with pytest.raises(WeightsError, match="to be those of the model, but they are not"):
        place.forget("nothing", "3", weights=changed)


def test_a_class_that_counts_as_forgotten_but_is_known_is_refused(place: Place) -> None:
    spec = CaseSpec(weights=place.original / WEIGHTS, data="digits", forget=("3",), already_forgotten=("5",))
    with pytest.raises(RequestError, match="but they know '5'"):
        forget_run(spec, MethodChoice("sisa"), Output(place.folder / "nothing"), audit=None, runtime=CPU)
