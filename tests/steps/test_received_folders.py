"""A run folder from a stranger: nothing in it imports code, reaches the network, or touches what lies outside of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from commands import WEIGHTS, assert_refused, run_cli, tree
from unlearnkit.run_dir import MANIFEST, add_to_run
from unlearnkit.steps.pictures import Pictures

AUDIT = ("--quick", "--quiet", "--device", "cpu")


def edit(folder: Path, name: str, **changes: Any) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(content | changes), encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "torch.hub:load,repo_or_dir={folder},model=net,source=local",
        "os:system",
        "timm:hf-hub:someone/something",
        "timm:local-dir:{folder}",
        "transformers:{folder}",
    ],
)
def test_an_architecture_that_a_folder_names_runs_no_code(name: str, copied: Path, tmp_path: Path) -> None:
    (copied / "hubconf.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef net(**options): pass\n")
    edit(copied, "config.json", model=name.format(folder=copied))
    assert_refused(run_cli("audit", copied, *AUDIT), "Expected --model", "config.json", "if you trust it, add --model")
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_an_architecture_given_by_hand_is_taken_instead(copied: Path) -> None:
    edit(copied, "config.json", model="os:system")
    assert run_cli("audit", copied, *AUDIT, "--model", "small-cnn,width=8").code == 0


@pytest.mark.parametrize("data", ["hf:someone/something", "torchvision:CIFAR10:/tmp", "installed-source:x"])
def test_data_that_a_folder_names_is_not_fetched_and_runs_no_code(
    data: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the data was opened")

    monkeypatch.setattr("unlearnkit.data.sources.registry._named", opened)
    edit(copied, "config.json", data=data)
    assert_refused(run_cli("audit", copied, *AUDIT), "Expected --data", "config.json", f"add --data {data}")


@pytest.mark.slow
def test_data_given_by_hand_is_taken_instead(copied: Path) -> None:
    edit(copied, "config.json", data="hf:someone/something")
    assert run_cli("audit", copied, *AUDIT, "--data", "digits").code == 0


@pytest.mark.parametrize("weights", ["hf-hub:someone/something", "transformers:someone/something"])
def test_weights_that_a_folder_names_are_not_fetched(weights: str, copied: Path) -> None:
    edit(copied, "config.json", weights=weights)
    assert_refused(run_cli("audit", copied, *AUDIT), "Expected a weights file", weights)


OUTSIDE = ("../kept.png", "{outside}/kept.png", "sub/../../kept.png", "link/kept.png")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_in_the_manifest_deletes_nothing_outside(name: str, copied: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.png"
    kept.write_bytes(b"mine")
    (copied / "link").symlink_to(tmp_path)
    manifest = json.loads((copied / MANIFEST).read_text())
    manifest["artefacts"] |= {name.format(outside=tmp_path): "0" * 64}
    (copied / MANIFEST).write_text(json.dumps(manifest))
    outcome = run_cli("audit", copied, *AUDIT)
    assert kept.read_bytes() == b"mine"
    assert_refused(outcome, "link to elsewhere" if "link" in name else "Expected a name of a file in")


@pytest.mark.parametrize("command", ["audit", "report", "verify"])
def test_every_command_refuses_such_a_name(command: str, copied: Path) -> None:
    edit(copied, MANIFEST, artefacts={"../config.json": "0" * 64})
    outcome = run_cli(command, copied, *(AUDIT if command == "audit" else ()))
    assert_refused(outcome, "Expected a name of a file in", "../config.json")


def test_a_planted_link_does_not_lead_a_write_outside(copied: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (".report.html.tmp", ".manifest.json.tmp", "report.html"):
        (copied / name).unlink(missing_ok=True)
        (copied / name).symlink_to(victim)
    run_cli("report", copied)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["config.json", "request.json", "audit.json", MANIFEST])
def test_a_linked_file_is_not_read(name: str, copied: Path, tmp_path: Path) -> None:
    shutil.move(copied / name, tmp_path / "elsewhere.json")
    (copied / name).symlink_to(tmp_path / "elsewhere.json")
    assert_refused(run_cli("report", copied), name, "a link")


def test_a_linked_picture_is_not_embedded(copied: Path, tmp_path: Path) -> None:
    listed = json.loads((copied / "pictures.json").read_text())["figures"]
    name = next(picture["file"] for figure in listed.values() for picture in figure.get("pictures", ()))
    shutil.move(copied / name, tmp_path / "private.png")
    (copied / name).symlink_to(tmp_path / "private.png")
    assert_refused(run_cli("report", copied), name, "a link")


def test_linked_weights_are_not_read(copied: Path, tmp_path: Path) -> None:
    shutil.move(copied / WEIGHTS, tmp_path / "elsewhere")
    (copied / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    assert_refused(run_cli("audit", copied, *AUDIT), WEIGHTS, "a link")


@pytest.mark.parametrize("command", ["report", "audit", "verify"])
def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(command: str, copied: Path) -> None:
    (copied / MANIFEST).unlink()
    os.mkfifo(copied / MANIFEST)
    (copied / "config.json").unlink()
    os.mkfifo(copied / "config.json")
    assert_refused(run_cli(command, copied), "is a pipe and is no regular file")


@pytest.mark.skipif(not os.path.exists("/proc/kcore"), reason="Linux shows its own state there")
def test_a_file_that_never_ends_is_not_read(copied: Path) -> None:
    """/proc/kmsg is a regular file that waits for ever, and /proc/kcore one of 128 TB."""
    edit(copied, MANIFEST, inputs={"/proc/kmsg": "0" * 64})
    assert_refused(run_cli("verify", copied), "/proc/kmsg", "of the running system")
    edit(copied, "config.json", weights="/proc/kmsg")
    assert_refused(run_cli("audit", copied, *AUDIT), "/proc/kmsg", "of the running system")


def test_what_a_ledger_is_given_by_a_stranger_is_text_and_hashes(copied: Path, tmp_path: Path) -> None:
    for name, changes in (("config.json", {"exclude": 7}), ("config.json", {"kind": ["\x1b[2K"]})):
        edit(copied, name, **changes)
        manifest = json.loads((copied / MANIFEST).read_text())
        digest = hashlib.sha256((copied / name).read_bytes()).hexdigest()
        edit(copied, MANIFEST, artefacts=manifest["artefacts"] | {name: digest})
        assert_refused(run_cli("ledger", "add", copied, "--ledger", tmp_path / "ledger"), name)
        edit(copied, name, exclude=[])
    assert not (tmp_path / "ledger").exists()


def test_pictures_to_delete_are_checked_before_anything_is_written(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.png").write_bytes(b"mine")
    edit(copied, MANIFEST, artefacts={"../kept.png": "0" * 64})
    before = tree(copied)
    with pytest.raises(Exception, match="name of a file in"):
        add_to_run(copied, *[Pictures(personal=True, include_images=False, figures={}).replacing(copied)[0]])
    assert tree(copied) == before
