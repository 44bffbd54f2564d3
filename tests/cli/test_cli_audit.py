"""`audit` and `report`: of a run folder, of two weights files, again, strictly, and in another language."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from commands import ARTEFACTS, WEIGHTS, Outcome, assert_refused, forget, read, run_cli, tree
from unlearnkit.errors import ConfigError
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.steps.demo import demo_run
from unlearnkit.steps.output import Output

DRAWN = {f"embedding-{name}.png" for name in ("original", "unlearned", "retrained")}
DRAWN |= {f"attention-{i}.png" for i in (1, 2, 3)}  # a forgotten class and two retained ones


def test_forget_goes_on_to_the_audit_and_the_report(audited: Path) -> None:
    made = {"audit.json", "report.html", "pictures.json", "noise-3.png"} | DRAWN
    assert {p.name for p in audited.iterdir()} == ARTEFACTS | made
    audit = read(audited, "audit.json")
    models = {(r["model"], r["part"]) for r in audit["readings"] if r["metric"] == "accuracy"}
    assert {(m, "forget_test") for m in ("original", "unlearned", "retrained")} <= models
    assert audit["verdict"]["status"] in ("pass", "fail", "unknown")
    assert len(audit["retrained"]) == 1
    access = read(audited, "access.json")
    assert access["forget_samples_read"] == 0
    assert access["forget_samples_read_by_audit"] > 0
    for name, digest in read(audited, "manifest.json")["artefacts"].items():
        assert hashlib.sha256((audited / name).read_bytes()).hexdigest() == digest


@pytest.mark.slow
def test_audit_of_a_folder_writes_audit_and_report_again(copied: Path, narrow_retrained: Path) -> None:
    before = read(copied, "audit.json"), read(copied, "access.json")
    (copied / "audit.json").unlink()
    (copied / "report.html").unlink()
    done = run_cli("audit", copied, "--retrained", narrow_retrained / WEIGHTS, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["audit"]["verdict"] == before[0]["verdict"]
    again = read(copied, "audit.json")
    values = [[(r["metric"], r["model"], r["part"], r["value"]) for r in a["readings"]] for a in (before[0], again)]
    assert values[0] == values[1]
    assert (copied / "report.html").is_file()
    access = read(copied, "access.json")
    assert access["forget_samples_read"] == 0
    assert access["parts"]["retain_train"] == before[1]["parts"]["retain_train"]
    manifest = read(copied, "manifest.json")["artefacts"]
    assert manifest["audit.json"] == hashlib.sha256((copied / "audit.json").read_bytes()).hexdigest()


def test_audit_refuses_weights_that_changed_since(copied: Path, tmp_path: Path, weights: Path) -> None:
    moved = tmp_path / "w.safetensors"
    shutil.copy(weights, moved)
    out = tmp_path / "out"
    assert forget("--forget", 3, "--no-audit", "--quiet", weights=moved, out=out).code == 0
    checkpoint = read_checkpoint(moved)
    assert checkpoint.card is not None
    moved.write_bytes(checkpoint_bytes(SmallCNN(10, width=8), checkpoint.card))
    before = tree(out)
    assert_refused(run_cli("audit", out), str(moved), "has changed since", "--original")
    moved.unlink()
    assert_refused(run_cli("audit", out), str(moved), "there is none")
    assert tree(out) == before


@pytest.mark.slow
def test_strict_audit_exits_with_3_unless_it_passes(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    request = ("--weights", weights, "--data", "digits", "--forget", 3, "--method", "head-mask", "--no-audit")
    assert run_cli("forget", *request, "--quiet", "--device", "cpu", "--out", out).code == 0
    done = run_cli("audit", out, "--strict", "--quick", "--quiet", "--device", "cpu")
    status = read(out, "audit.json")["verdict"]["status"]
    assert status != "pass"
    assert done == Outcome(3, "", "")


def test_strict_audit_exits_with_0_when_it_passes(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = {"readings": [], "verdict": {"status": "pass", "why": [{"code": "inside_band", "values": {}}]}}
    verdict |= {"notices": []}
    monkeypatch.setattr("unlearnkit.steps.audit.audit_folder", lambda *_args, **_options: verdict)
    assert run_cli("audit", audited, "--strict", "--quiet") == Outcome(0, "", "")


@pytest.mark.slow
def test_audit_of_two_weights_files_needs_no_run(
    weights: Path, audited: Path, narrow_retrained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run_cli(
        "audit", "--original", weights, "--unlearned", audited / WEIGHTS, "--retrained", narrow_retrained / WEIGHTS,
        "--data", "digits", "--forget", "3", "--out", out, "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} == {
        "request.json", "config.json", "access.json", "audit.json", "manifest.json", "report.html", "pictures.json",
        *DRAWN,
    }  # fmt: skip
    assert "verdict: " in done.out
    assert f"written to {out}\n" in done.out

    def accuracies(folder: Path) -> list[float]:
        return [r["value"] for r in read(folder, "audit.json")["readings"] if r["metric"] == "accuracy"]

    assert accuracies(out) == accuracies(audited)
    assert set(read(out, "manifest.json")["inputs"]) == {str(weights), str(audited / WEIGHTS)}


def test_report_writes_the_page_and_prints_its_path(copied: Path) -> None:
    (copied / "report.html").unlink()
    done = run_cli("report", copied)
    assert done == Outcome(0, f"{copied / 'report.html'}\n", "")
    page = (copied / "report.html").read_bytes()
    assert read(copied, "manifest.json")["artefacts"]["report.html"] == hashlib.sha256(page).hexdigest()
    assert run_cli("report", copied, "--quiet") == Outcome(0, "", "")


def language_of(folder: Path) -> str:
    page = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search('<html lang="(.*?)">', page)
    assert found is not None
    return found[1]


@pytest.mark.slow
def test_the_language_of_a_report_stays_until_another_is_chosen(copied: Path) -> None:
    assert language_of(copied) == "en"
    for args, language in (
        (["report", "--language", "zh"], "zh-Hans"),
        (["report"], "zh-Hans"),
        (["audit", "--quick", "--device", "cpu"], "zh-Hans"),
        (["report", "--language", "en"], "en"),
        (["report"], "en"),
        (["audit", "--quick", "--device", "cpu", "--language", "zh"], "zh-Hans"),
    ):
        done = run_cli(args[0], copied, *args[1:], "--quiet")
        assert done == Outcome(0, "", "")
        assert language_of(copied) == language
    manifest = read(copied, "manifest.json") | {"language": "fr"}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    before = tree(copied)
    assert_refused(run_cli("report", copied), "languages (en, zh)", "'fr'", "--language")
    assert tree(copied) == before


def test_forget_remembers_the_language_for_the_audit(weights: Path, tmp_path: Path) -> None:
    done = forget("--forget", "3", "--no-audit", "--language", "zh", "--quiet", weights=weights, out=tmp_path / "out")
    assert done == Outcome(0, "", "")
    assert run_cli("report", tmp_path / "out", "--quiet").code == 0
    assert language_of(tmp_path / "out") == "zh-Hans"
    with pytest.raises(ConfigError, match="en, zh"):
        demo_run(Output(tmp_path / "demo", language="fr"))
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_an_audit_of_two_files_does_not_claim_what_the_method_read(
    weights: Path, audited: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pair = ("--original", weights, "--unlearned", audited / WEIGHTS)
    options = ("--data", "digits", "--forget", "3", "--quick", "--quiet", "--device", "cpu")
    done = run_cli("audit", *pair, *options, "--out", out)
    assert done == Outcome(0, "", "")
    access = read(out, "access.json")
    assert access["forget_samples_read"] is None
    assert access["parts"]["forget_test"]["3"]["read_by_method"] is None
    assert access["parts"]["forget_test"]["3"]["read_by_audit"] == 36
    assert (out / "report.html").is_file()


@pytest.mark.slow
def test_a_later_audit_does_not_forget_what_an_earlier_one_read(copied: Path) -> None:
    access = read(copied, "access.json")
    access["parts"]["forget_train"]["3"]["read_by_audit"] = 999
    access["parts"]["forget_train"]["gone since"] = {
        "samples": 5, "read_by_method": 0, "read_by_audit": 5, "decoded": 5
    }  # fmt: skip
    (copied / "access.json").write_text(json.dumps(access), encoding="utf-8")
    assert run_cli("audit", copied, "--quick", "--device", "cpu", "--quiet").code == 0
    joined = read(copied, "access.json")
    assert joined["parts"]["forget_train"]["3"]["read_by_audit"] == 999
    assert joined["parts"]["forget_train"]["gone since"]["decoded"] == 5
    assert joined["forget_samples_read_by_audit"] == 999 + 36 + 5
    assert joined["forget_samples_read"] == 0
