"""Reference models: trained as the original was, once, each under the key of what it is; refused where none can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import unlearnkit.steps.bank_entry as step
from trained_once import CPU, TINY, trained
from unlearnkit.data.choosing_rows import RowChoice
from unlearnkit.errors import ConfigError, DataError, InputError, ModelError, OutputError, RequestError, WeightsError
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json
from unlearnkit.runtime.progress import Silent
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.recorded_training import recorded_training
from unlearnkit.steps.reference_bank import damage, folders_of, read_identity
from unlearnkit.steps.retrain import retrain_run
from unlearnkit.steps.specs import CaseSpec, RetrainSpec
from unlearnkit.steps.train import train_run

pytestmark = pytest.mark.xdist_group("retrain")  # one process trains the original and its bank


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("retrain") / "original", seed=4)


@pytest.fixture(scope="module")
def full_bank(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of two models without class 3; tests that change it take a copy."""
    bank = tmp_path_factory.mktemp("bank") / "bank"
    retrain(original, bank)
    return bank


@pytest.fixture
def bank(full_bank: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(full_bank, tmp_path / "bank"))


def retrain(of: Path, bank: Path, **more: Any) -> list[dict[str, Any]]:
    spec = RetrainSpec(**{"of": of, "exclude": ("3",), "count": 2} | more)
    return retrain_run(spec, bank, runtime=CPU)["references"]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the trainings that are run."""
    seeds: list[int] = []

    def counted(*args: Any, seed: int, **more: Any) -> dict[str, Any]:
        seeds.append(seed)
        return train_run(*args, seed=seed, **more)

    monkeypatch.setattr(step, "train_run", counted)
    return seeds


def test_it_is_what_train_without_the_class_gives(original: Path, full_bank: Path, tmp_path: Path) -> None:
    by_hand = trained(tmp_path / "by hand", seed=5, exclude=("3",))
    first, second = retrain(original, full_bank)
    assert (first["seed"], second["seed"]) == (5, 6), "the numbers after the original's"
    states = [load_file(path) for path in (first["path"], by_hand / WEIGHTS, second["path"])]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])
    assert len(states[0]["head.weight"]) == 10, "full width"
    card = read_checkpoint(first["path"]).card
    assert card is not None
    assert card.forgotten == ("3",)
    assert recorded_training(Path(first["path"])).recipe == recorded_training(original).recipe


def test_the_second_call_trains_nothing(original: Path, bank: Path, trainings: list[int]) -> None:
    again = retrain(original, bank, exclude=(3,))
    assert not trainings
    assert [each["trained"] for each in again] == [False, False]
    more = retrain(original, bank, count=3)
    assert trainings == [7]
    assert [each["path"] for each in more[:2]] == [each["path"] for each in again]


def test_a_model_whose_operations_nobody_counted_stays_without_a_count_and_that_is_said(
    original: Path, bank: Path, trainings: list[int]
) -> None:
    said: list[str] = []

    class Told(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    counting = replace(CPU, count_operations=True)
    spec = RetrainSpec(of=original, exclude=("3",), count=3)
    references = retrain_run(spec, bank, runtime=counting, progress=Told())["references"]
    assert trainings == [7]
    counted = ["operations" in read_json(Path(each["path"]).parent, "cost.json")["total"] for each in references]
    assert counted == [False, False, True]
    notes = [text for text in said if text.endswith("nobody counted operations, and its cost stays without them")]
    assert len(notes) == 2


def keys(bank: Path) -> set[str]:
    return {folder.name for folder in folders_of(bank)}


@pytest.mark.parametrize(
    ("settings", "more", "named"),
    [
        (("lr=0.05",), {}, "recipe"),
        ((), {"model": "small-cnn,width=5"}, "model"),
        ((), {"exclude": ("4",)}, "excluded"),
    ],
    ids=["recipe", "model", "class"],
)
def test_what_differs_has_another_key(
    bank: Path, tmp_path: Path, settings: tuple[str, ...], more: dict[str, Any], named: str, trainings: list[int]
) -> None:
    options = {"exclude": more.pop("exclude", ("3",))}
    before = keys(bank)
    other = trained(tmp_path / "other", *settings, seed=4, **more)
    (reference,) = retrain(other, bank, count=1, **options)
    assert trainings == [5]
    folder = Path(reference["path"]).parent
    assert folder.name not in before
    assert len(keys(bank)) == 3
    same_seed = next(each for each in before if read_identity(bank / each).seed == 5)
    assert read_identity(folder).differs_in(read_identity(bank / same_seed)) == named


@pytest.mark.slow
def test_other_data_has_another_key_and_the_same_data_elsewhere_has_not(
    parquet_folder: Callable[..., Path], tmp_path: Path, trainings: list[int]
) -> None:
    data, bank = parquet_folder(), tmp_path / "bank"
    of = trained(tmp_path / "squares", data=f"parquet:{data}")
    options = {"count": 1, "exclude": ("red",)}
    (first,) = retrain(of, bank, **options)
    moved = shutil.copytree(data, tmp_path / "moved")
    assert retrain(of, bank, data=f"parquet:{moved}", **options) == [first | {"trained": False}]
    shutil.rmtree(data)
    with pytest.raises(InputError, match="data"):
        retrain(of, bank, **options)
    parquet_folder(per_class=41)
    (other,) = retrain(of, bank, **options)
    assert trainings == [1, 1]
    assert other["path"] != first["path"]


def spoil(entry: Path, how: str) -> None:
    if how == "no manifest":
        (entry / MANIFEST).unlink()
    if how == "no identity":
        (entry / "reference.json").unlink()
    if how == "half the weights":
        weights = (entry / WEIGHTS).read_bytes()
        (entry / WEIGHTS).write_bytes(weights[: len(weights) // 2])
    if how == "other weights":
        save_file({name: value + 1 for name, value in load_file(entry / WEIGHTS).items()}, entry / WEIGHTS)
    if how == "another identity":
        record = json.loads((entry / "reference.json").read_text()) | {"seed": 9}
        (entry / "reference.json").write_text(json.dumps(record))
    if how in ("empty", "a file", "a link"):
        shutil.move(entry, entry.parents[1] / "moved")
    if how == "empty":
        entry.mkdir()
    if how == "a file":
        entry.touch()
    if how == "a link":
        entry.symlink_to(entry.parents[1] / "moved")


SPOILT = [
    "no manifest",
    "no identity",
    "half the weights",
    "other weights",
    "another identity",
    "empty",
    "a file",
    "a link",
]


@pytest.mark.parametrize("how", SPOILT)
def test_half_an_entry_is_trained_again(original: Path, bank: Path, trainings: list[int], how: str) -> None:
    before = retrain(original, bank)
    weights = Path(before[0]["path"]).read_bytes()
    entry = Path(before[0]["path"]).parent
    spoil(entry, how)
    assert damage(entry)
    again = retrain(original, bank)
    assert trainings == [5]
    assert [each["trained"] for each in again] == [True, False]
    assert [bool(each["replaced"]) for each in again] == [True, False]
    assert damage(entry) is None
    assert (entry / WEIGHTS).read_bytes() == weights
    assert {path.name for path in bank.iterdir()} == keys(bank), "nothing else is left"
    assert len(keys(bank)) == 2


def test_a_training_that_is_killed_leaves_nothing(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_args: Any, **_more: Any) -> bytes:
        raise KeyboardInterrupt

    bank = tmp_path / "bank"
    monkeypatch.setattr("unlearnkit.steps.train.checkpoint_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        retrain(original, bank)
    assert not list(bank.iterdir())


def test_a_model_made_from_the_original_leads_to_it(original: Path, full_bank: Path, tmp_path: Path) -> None:
    spec = CaseSpec(weights=original / WEIGHTS, data="digits", forget=("3",))
    forget_run(spec, MethodChoice("head-mask"), Output(tmp_path / "masked"), audit=None, runtime=CPU)
    for of in (tmp_path / "masked", tmp_path / "masked" / WEIGHTS, original / WEIGHTS):
        exclude = ("3",) if of.is_relative_to(original) else ()
        found = retrain(of, full_bank, exclude=exclude)
        assert [each["trained"] for each in found] == [False, False], of
    moved = Path(shutil.copytree(original, tmp_path / "moved"))
    spec = CaseSpec(weights=moved / WEIGHTS, data="digits", forget=("3",))
    forget_run(spec, MethodChoice("head-mask"), Output(tmp_path / "from moved"), audit=None, runtime=CPU)
    spoil(moved, "other weights")
    with pytest.raises(OutputError, match="have changed since"):
        retrain(tmp_path / "from moved", full_bank)
    shutil.rmtree(moved)
    with pytest.raises(ModelError, match=r"was made from .*moved.*which records no training"):
        retrain(tmp_path / "from moved", full_bank)


def test_data_from_a_network_is_not_fetched_because_a_folder_names_it(original: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(original, tmp_path / "original"))
    config = json.loads((folder / "config.json").read_text()) | {"data": "hf:somebody/images"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"--data hf:somebody/images"):
        retrain(folder, tmp_path / "bank")
    (folder / "config.json").write_text(json.dumps(config | {"seed": None}))
    with pytest.raises(OutputError, match="'seed'"):
        retrain(folder, tmp_path / "bank")


@pytest.mark.slow
def test_it_begins_with_the_weights_that_the_original_began_with(
    original: Path, tmp_path: Path, trainings: list[int]
) -> None:
    without = trained(tmp_path / "without", exclude=("3", "4"))
    tuned = trained(tmp_path / "tuned", init=without / WEIGHTS)
    assert retrain(tuned, tmp_path / "bank", count=1, exclude=("3",))[0]["trained"]
    assert read_identity(folders_of(tmp_path / "bank")[0]).excluded == ("3", "4")
    from_one_that_knows = trained(tmp_path / "knows", init=original / WEIGHTS)
    with pytest.raises(ModelError, match="never knew '3'"):
        retrain(from_one_that_knows, tmp_path / "bank")
    shutil.copytree(without, tmp_path / "kept")
    shutil.rmtree(without)
    trained(without, exclude=("3", "4"), seed=8)
    with pytest.raises(WeightsError, match="has changed since"):
        retrain(tuned, tmp_path / "bank", count=1)
    assert trainings == [1]


def test_rows_have_a_key_of_their_own_although_the_samples_are_the_same(original: Path, tmp_path: Path) -> None:
    """Row 3 shows a 3, which is left out as a class already."""
    (plain,) = retrain(original, tmp_path, count=1)
    (more,) = retrain(original, tmp_path, count=1, exclude_rows=RowChoice(numbers=(3,)))
    first, second = (read_identity(Path(each["path"]).parent) for each in (plain, more))
    assert first.data == second.data
    assert first.differs_in(second) == "rows"
    assert "rows" not in first.as_record(), "entries without rows keep their keys"
    card = read_checkpoint(more["path"]).card
    assert card is not None
    assert [rows.numbers for rows in card.forgotten_rows] == [(3,)]


def test_what_cannot_be_repeated_is_refused_before_any_training(
    original: Path, tmp_path: Path, trainings: list[int]
) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file(load_file(original / WEIGHTS), foreign)
    bank = tmp_path / "bank"
    for of in (foreign, tmp_path, tmp_path / "gone"):
        with pytest.raises(ModelError, match=r"whose recipe is repeated.*--exclude CLASS --set.*--retrained"):
            retrain(of, bank)
    with pytest.raises(ConfigError, match=r"name them with --exclude"):
        retrain(original, bank, exclude=())
    with pytest.raises(RequestError, match="unknown"):
        retrain(original, bank, exclude=("x",))
    with pytest.raises(ConfigError, match=r"other than the original's, 4, .* got 3 to 4; .*--seed 5"):
        retrain(original, bank, seed=3)
    with pytest.raises(ConfigError, match="at least one model"):
        retrain(original, bank, count=0)
    changed = Path(shutil.copytree(original, tmp_path / "changed"))
    spoil(changed, "other weights")
    with pytest.raises(OutputError, match="have changed since"):
        retrain(changed, bank)
    assert not trainings
    assert not bank.exists()


def test_config_says_which_weights_of_a_file_training_began_with(original: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.pt"
    state = load_file(original / WEIGHTS)
    torch.save({"model": state, "model_ema": {name: value + 0.1 for name, value in state.items()}}, many)
    more = {"init": many, "weights_key": "model_ema", "trust_inputs": True}
    tuned = trained(tmp_path / "tuned", model=TINY, **more)
    assert read_json(tuned, "config.json")["weights_key"] == "model_ema"
    recorded = recorded_training(tuned)
    assert (recorded.init, recorded.init_key, recorded.trust_inputs) == (many, "model_ema", True)
    assert retrain(tuned, tmp_path / "bank", count=1)[0]["trained"], "it begins with the same weights of that file"
