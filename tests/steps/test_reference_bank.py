"""The reference bank: where it is, what a key is made of, what is pruned."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trained_once import CPU, trained
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.steps.bank import list_bank, prune_bank, verify_bank
from unlearnkit.steps.identity import Identity
from unlearnkit.steps.reference_bank import default_bank, folders_of
from unlearnkit.steps.retrain import retrain_run
from unlearnkit.steps.specs import RetrainSpec

IDENTITY = Identity(
    data="d", classes=("a", "b"), excluded=("b",), model="m", structure="s", fed={"shape": [1, 2, 2]}, start=None,
    recipe={"lr": 0.1}, seed=1,
)  # fmt: skip
OTHERS: dict[str, Any] = {
    "data": "e", "classes": ("a", "c"), "excluded": (), "model": "n", "structure": "t", "fed": {"shape": [1, 2, 3]},
    "start": "pretrained", "recipe": {"lr": 0.2}, "rows": "r", "seed": 2,
}  # fmt: skip


def test_every_value_is_part_of_the_key() -> None:
    assert set(OTHERS) == set(Identity.__dataclass_fields__)
    changed = [replace(IDENTITY, **{name: value}) for name, value in OTHERS.items()]
    assert len({IDENTITY.key, *(identity.key for identity in changed)}) == len(OTHERS) + 1
    assert [identity.differs_in(IDENTITY) for identity in changed] == [*list(OTHERS)[:-1], None], "a seed fits always"


def test_a_record_gives_the_identity_again_and_others_are_refused() -> None:
    record = IDENTITY.as_record()
    assert Identity.from_record(record) == IDENTITY
    assert Identity.from_record(record).key == IDENTITY.key
    for wrong in ({"schema": 2}, {"seed": "1"}, {"seed": True}):
        with pytest.raises(ValueError, match="schema"):
            Identity.from_record(record | wrong)
    with pytest.raises(KeyError):
        Identity.from_record({})


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {}, "home/.cache/unlearnkit/bank"),
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/unlearnkit/bank"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/unlearnkit/bank"),
        ("darwin", {"XDG_CACHE_HOME": "/caches"}, "home/Library/Caches/unlearnkit/bank"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/unlearnkit/bank"),
        ("linux", {"XDG_CACHE_HOME": "/caches", "UNLEARNKIT_BANK": "/mine"}, "/mine"),
        ("linux", {"UNLEARNKIT_BANK": "~/mine"}, "home/mine"),
    ],
)
def test_the_usual_place_is_the_users_cache_unless_the_variable_names_another(
    platform: str, variables: dict[str, str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "UNLEARNKIT_BANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_bank() == tmp_path / place


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    original, bank = trained(tmp_path / "original"), tmp_path / "bank"
    retrain_run(RetrainSpec(of=original, exclude=("3", "5"), count=2), bank, runtime=CPU)
    return bank


def test_list_says_what_is_there(bank: Path) -> None:
    entries = list_bank(bank)["entries"]
    assert [entry["key"] for entry in entries] == sorted(path.name for path in bank.iterdir())
    assert {entry["seed"] for entry in entries} == {1, 2}
    assert all(entry["excluded"] == ["3", "5"] and entry["data"] == "digits" for entry in entries)
    assert all(entry["wrong"] is None and Path(entry["path"]).is_file() for entry in entries)
    assert list_bank(bank / "none")["entries"] == []


def test_verify_finds_damage_and_prune_deletes_that_alone(bank: Path) -> None:
    good, bad = folders_of(bank)
    (bad / WEIGHTS).write_bytes((bad / WEIGHTS).read_bytes()[:-1])
    wrong = {entry["key"]: entry["wrong"] for entry in verify_bank(bank)["entries"]}
    assert wrong == {good.name: None, bad.name: f"{WEIGHTS} is changed."}
    assert list_bank(bank)["entries"][1]["wrong"] is None, "to list hashes nothing"
    other = [bank / name for name in ("notes", f".{bad.name}.unlearnkit-{'1' * 16}", ".hidden")]
    for path in other:
        path.mkdir()
    link = bank / ("f" * 32)
    link.symlink_to(good)
    assert prune_bank(bank)["pruned"] == [bad.name]
    assert {path.name for path in bank.iterdir()} == {good.name, link.name, *(other[i].name for i in (0, 2))}


def test_a_bank_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match="name a folder that you can read"):
        list_bank(file)
