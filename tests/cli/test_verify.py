"""`verify` finds every change to a run folder, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from commands import Outcome, run_cli
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import MANIFEST, add_to_run, write_run
from unlearnkit.steps.verify import verify_run


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with an input, an audit with a retrained model, and a later step."""
    for name in ("before", "retrained", "other"):
        (tmp_path / name).write_bytes(name.encode())
    retrained = [{"path": str(tmp_path / "retrained"), "sha256": digest(tmp_path / "retrained")}]
    out = tmp_path / "run"
    content = {"config.json": {"kind": "forget"}, "model.safetensors": b"\x00\x01", "audit.json": {"readings": []}}
    manifest = {"inputs": {str(tmp_path / "before"): digest(tmp_path / "before")}}
    write_run(out, content, overwrite=False, manifest=manifest)
    step = {"inputs": {str(tmp_path / n): digest(tmp_path / n) for n in ("before", "other")}}
    add_to_run(out, {"audit.json": {"readings": [], "retrained": retrained}}, step=step)
    return out


def states(folder: Path) -> dict[str, str]:
    return {Path(file["name"]).name: file["state"] for file in verify_run(folder)["files"]}


def test_an_untouched_folder_matches(run: Path) -> None:
    result = verify_run(run)
    assert result["ok"]
    assert result["manifest"] == digest(run / MANIFEST)
    names = ["config.json", "model.safetensors", "audit.json", "before", "other", "retrained"]
    assert [(Path(f["name"]).name, f["state"]) for f in result["files"]] == [(name, "matches") for name in names]
    assert [f["kind"] for f in result["files"]] == ["artefact"] * 3 + ["input"] * 3


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "audit.json"])
def test_one_changed_byte_is_found(run: Path, name: str) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x02")
    assert not verify_run(run)["ok"]
    found = states(run)
    assert [each for each, state in found.items() if state != "matches"] == [name]
    assert ("retrained" in found) == (name != "audit.json")


def test_missing_added_and_swapped_files_are_found(run: Path) -> None:
    (run / "config.json").unlink()
    (run / "note.txt").write_text("mine")
    (run / "more").mkdir()
    (run / "model.safetensors").unlink()
    (run / "model.safetensors").mkdir()
    assert not verify_run(run)["ok"]
    found = states(run)
    assert found["config.json"] == found["model.safetensors"] == "missing"
    assert found["note.txt"] == found["more"] == "not recorded"


@pytest.mark.parametrize("name", ["before", "other", "retrained"])
def test_inputs_may_go_but_not_change(run: Path, name: str) -> None:
    path = run.parent / name
    path.unlink()
    assert states(run)[name] == "not there"
    assert verify_run(run)["ok"]
    path.write_bytes(b"something else")
    assert states(run)[name] == "changed"
    assert not verify_run(run)["ok"]


@pytest.mark.parametrize(
    "damage",
    [
        {"artefacts": ["config.json"]},
        {"artefacts": {"config.json": 1}},
        {"artefacts": {"../before": "0"}},
        {"inputs": "none"},
        {"later_steps": ["step"]},
    ],
)
def test_a_damaged_manifest_is_refused(run: Path, damage: dict[str, object]) -> None:
    manifest = json.loads((run / MANIFEST).read_text())
    (run / MANIFEST).write_text(json.dumps(manifest | damage))
    with pytest.raises(OutputError, match=r"Expected .*(artefacts|inputs|later_steps|name of a file)"):
        verify_run(run)


def test_the_command_says_what_changed_and_exits_with_1(run: Path, tmp_path: Path) -> None:
    done = run_cli("verify", run)
    assert done.code == 0
    assert f"everything is as recorded; sha256 of the manifest: {digest(run / MANIFEST)}\n" in done.out
    assert run_cli("verify", run, "--quiet") == Outcome(0, "", "")
    (run / "config.json").write_text("{}")
    done = run_cli("verify", run)
    assert (done.code, done.err) == (1, "")
    assert "not everything is as recorded" in done.out
    assert ["changed", "artefact", "config.json"] in [line.split() for line in done.out.splitlines()]
    assert run_cli("verify", run, "--quiet") == Outcome(1, "", "")
    done = run_cli("verify", run, "--json")
    assert done.code == 1
    assert json.loads(done.out) == verify_run(run)
    refused = run_cli("verify", tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert "Expected manifest.json in the run folder" in refused.err
