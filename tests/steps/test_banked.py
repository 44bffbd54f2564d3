"""References of an audit from the bank: those that fit and no other, without naming one; refused where none does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from trained_once import CPU, TINY, trained
from unlearnkit.data import AccessLog
from unlearnkit.errors import ModelError, OutputError
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.hub import WeightsSource
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.runtime.progress import Silent
from unlearnkit.steps.audit import audit_folder, audit_pair
from unlearnkit.steps.auditing import AuditOptions, Depth
from unlearnkit.steps.banked import banked_references, retrained_for
from unlearnkit.steps.case import Case
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.reference_bank import read_identity
from unlearnkit.steps.retrain import retrain_run
from unlearnkit.steps.specs import CaseSpec, RetrainSpec

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("banked")]  # one process trains the seven models


def retrain(of: Path, bank: Path, *exclude: str, count: int = 1, **more: Any) -> list[Path]:
    result = retrain_run(RetrainSpec(of=of, exclude=exclude, count=count, **more), bank, runtime=CPU)
    return [Path(reference["path"]) for reference in result["references"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An original, and a bank with two models without class 3 and others that do not fit."""
    place = tmp_path_factory.mktemp("banked")
    original, bank = trained(place / "original"), place / "bank"
    retrain(original, bank, "3", count=2)
    retrain(original, bank, "4")
    retrain(trained(place / "slower", "lr=0.05"), bank, "3")
    retrain(trained(place / "wider", model="small-cnn,width=5"), bank, "3")
    return place


@pytest.fixture
def bank(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "bank", tmp_path / "bank"))


def case(place: Path, *forget: str, weights: Path | None = None, **more: Any) -> Case:
    path = weights or place / "original" / WEIGHTS
    spec = CaseSpec(weights=path, data="digits", forget=forget, **more)
    return Case.opened(spec, reader="the audit", source=WeightsSource(path=path), checkpoint=read_checkpoint(path))


def found(opened: Case, bank: Path) -> list[Path]:
    return banked_references(opened, bank, access=AccessLog(opened.data))


def test_those_that_fit_are_found_in_the_order_of_their_seeds(place: Path, bank: Path) -> None:
    opened = case(place, "3")
    paths = found(opened, bank)
    identities = [read_identity(path.parent) for path in paths]
    assert [(i.seed, i.excluded, i.model, i.recipe["lr"]) for i in identities] == [
        (1, ("3",), TINY, 0.1),
        (2, ("3",), TINY, 0.1),
    ]
    assert found(case(place, "4"), bank) == [path for path in found(case(place, "4"), bank) if path not in paths]


def test_no_forgotten_sample_is_read_for_it_and_the_reads_are_counted(place: Path, bank: Path) -> None:
    opened = case(place, "3")
    access = AccessLog(opened.data)
    banked_references(opened, bank, access=access)
    counts = access.summary(opened.split)
    assert counts["forget_samples_read_by_audit"] == counts["forget_samples_decoded"] == 0
    retained = counts["parts"]["retain_train"]
    assert all(each["read_by_audit"] == each["samples"] for each in retained.values())
    unread = case(place, "3", already_forgotten=("5",))
    log = AccessLog(unread.data)
    with pytest.raises(ModelError):
        banked_references(unread, bank, access=log)
    assert sum(each["read_by_audit"] for each in log.summary(unread.split)["parts"]["retain_train"].values()) == 0


def test_what_was_given_already_is_not_given_twice(place: Path, bank: Path) -> None:
    opened = case(place, "3")
    first, second = found(opened, bank)
    options = AuditOptions(retrained=[second], references=bank)
    both = retrained_for(opened, options, access=AccessLog(opened.data), progress=None)
    assert both == [second, first]
    alone = AuditOptions(retrained=[second])
    assert retrained_for(opened, alone, access=AccessLog(opened.data), progress=None) == [second]


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_a_damaged_entry_is_not_used_and_is_spoken_of(place: Path, bank: Path) -> None:
    opened, heard = case(place, "3"), Heard()
    first, second = found(opened, bank)
    save_file({name: value + 1 for name, value in load_file(first).items()}, first)
    left = banked_references(opened, bank, access=AccessLog(opened.data), progress=heard)
    assert left == [second]
    assert heard.lines == [f"note: 1 of the models in {bank} are unfinished or damaged, and are not used."]
    (second.parent / "reference.json").unlink()
    with pytest.raises(ModelError, match="2 unfinished or damaged"):
        found(opened, bank)


def test_where_none_fits_it_says_why_and_how_to_make_some(place: Path, bank: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        found(case(place, "5", "6"), bank)
    text = str(refused.value)
    assert "without '5', '6'" in text
    assert "5 without other classes" in text
    assert f"unlearnkit retrain --of {place / 'original'} --exclude 5 --exclude 6 --bank {bank}`" in text
    with pytest.raises(ModelError, match="it holds: nothing"):
        found(case(place, "3"), tmp_path / "no bank")


def test_an_original_of_another_tool_is_told_what_to_do(place: Path, bank: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    shutil.copy(place / "original" / WEIGHTS, moved)
    with pytest.raises(ModelError, match=r"records no training; .*--retrained"):
        found(case(place, "3", weights=moved), bank)


def test_other_data_of_the_same_classes_does_not_fit(place: Path, bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = case(place, "3")
    monkeypatch.setattr("unlearnkit.steps.banked.data_fingerprint", lambda *_args, **_more: "0" * 64)
    with pytest.raises(ModelError, match="2 trained on other data"):
        found(opened, bank)


def test_forget_and_audit_judge_by_them(place: Path, bank: Path, tmp_path: Path) -> None:
    quick = AuditOptions(references=bank, depth=Depth.QUICK)
    spec = CaseSpec(weights=place / "original" / WEIGHTS, data="digits", forget=("3",))
    out = tmp_path / "masked"
    forget_run(spec, MethodChoice("head-mask"), Output(out), audit=quick, runtime=CPU)
    paths = [str(path) for path in found(case(place, "3"), bank)]
    assert [each["path"] for each in read_json(out, "audit.json")["retrained"]] == paths
    access = read_json(out, "access.json")
    assert access["forget_samples_read"] == 0
    audit_folder(Output(out), options=AuditOptions(depth=Depth.QUICK), runtime=CPU)
    assert read_json(out, "audit.json")["retrained"] == []
    audit_folder(Output(out), options=quick, runtime=CPU)
    assert [each["path"] for each in read_json(out, "audit.json")["retrained"]] == paths


def test_a_bank_inside_the_folder_to_write_is_refused(place: Path, bank: Path) -> None:
    spec = CaseSpec(weights=place / "original" / WEIGHTS, data="digits", forget=("3",))
    options, output = AuditOptions(references=bank), Output(bank.parent, overwrite=True)
    with pytest.raises(OutputError, match="apart from the inputs"):
        forget_run(spec, MethodChoice("head-mask"), output, audit=options, runtime=CPU)
    with pytest.raises(OutputError, match="apart from the inputs"):
        audit_pair(spec, place / "wider" / WEIGHTS, output, options=options, runtime=CPU)


def test_a_second_request_needs_models_without_both_classes(place: Path, bank: Path, tmp_path: Path) -> None:
    spec = CaseSpec(weights=place / "original" / WEIGHTS, data="digits", forget=("3",))
    out = tmp_path / "masked"
    forget_run(spec, MethodChoice("head-mask"), Output(out), audit=None, runtime=CPU)
    opened = case(place, "5", weights=out / WEIGHTS)
    with pytest.raises(ModelError, match=r"--exclude 5 --exclude 3"):
        found(opened, bank)
    made = retrain(out, bank, "5")
    assert found(opened, bank) == made
