"""Signatures of run folders: who signed what, what has changed since, and what no signature can say."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from commands import assert_refused, run_cli
from unlearnkit.errors import ConfigError, OutputError
from unlearnkit.proof.keys import PASSPHRASE, fingerprint, make_key, read_private, read_public
from unlearnkit.run_dir import MANIFEST, SIGNATURE, add_to_run, write_run
from unlearnkit.steps.sign import sign_folder
from unlearnkit.steps.verify import verify_run


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("key.pub")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    content = {"config.json": {"kind": "forget"}, "model.safetensors": b"\x00\x01", "audit.json": {"readings": []}}
    write_run(tmp_path / "run", content, overwrite=False, manifest={"seed": 1})
    return tmp_path / "run"


def rewritten(folder: Path, name: str, content: bytes) -> None:
    """Change a file, and what the manifest says of it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["artefacts"][name] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / SIGNATURE).read_text())
    change(content["signatures"][0])
    (folder / SIGNATURE).write_text(json.dumps(content))


def test_a_key_is_for_its_owner_alone_and_never_overwritten(key: Path, public: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert public.read_text().startswith("ssh-ed25519 AAAA")
    raw = read_public(public)
    assert raw == read_private(key).public_key().public_bytes_raw()
    for name in ("key", "other"):
        (key.parent / "other.pub").touch()
        with pytest.raises(OutputError, match="choose another name, as no key is overwritten"):
            make_key(key.parent / name)


def test_the_fingerprint_is_that_of_ssh() -> None:
    # RFC 8709 gives the format, and `ssh-keygen -lf` this fingerprint for the key of 32 zero bytes
    blob = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    expected = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    assert fingerprint(bytes(32)) == expected


@pytest.mark.parametrize("private_format", [form.PrivateFormat.OpenSSH, form.PrivateFormat.PKCS8])
@pytest.mark.parametrize("words", [None, "open sesame"])
def test_keys_of_other_tools_are_read(
    private_format: form.PrivateFormat, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words and private_format is form.PrivateFormat.OpenSSH:
        pytest.importorskip("bcrypt", reason="OpenSSH's encryption needs it; cryptography[ssh] brings it")
    made = ed25519.Ed25519PrivateKey.generate()
    locked = form.BestAvailableEncryption(words.encode()) if words else form.NoEncryption()
    (tmp_path / "key").write_bytes(made.private_bytes(form.Encoding.PEM, private_format, locked))
    pem = made.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    if words:
        with pytest.raises(ConfigError, match=f"give the passphrase of an encrypted one in {PASSPHRASE}"):
            read_private(tmp_path / "key")
        monkeypatch.setenv(PASSPHRASE, "another")
        with pytest.raises(ConfigError, match="cannot be read"):
            read_private(tmp_path / "key")
    monkeypatch.setenv(PASSPHRASE, words or "not needed")
    assert read_private(tmp_path / "key").private_bytes_raw() == made.private_bytes_raw()
    assert read_public(tmp_path / "key.pem") == made.public_key().public_bytes_raw()


def test_what_is_no_such_key_is_refused(key: Path, run: Path, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (tmp_path / "curve").write_bytes(pem)
    (tmp_path / "text").write_text("ssh-ed25519 AAAA")
    (tmp_path / "large").write_bytes(bytes(30_000))
    os.mkfifo(tmp_path / "pipe")
    words = {
        "curve": "of another kind",
        "text": "cannot be read",
        "large": "a few hundred bytes",
        "pipe": "check its name",
        "none": "check its name",
    }
    for name, said in words.items():
        assert_refused(run_cli("sign", run, "--key", tmp_path / name), said)
    for name, said in (words | {"key": "is a private one", "curve": "is a private one", "text": "in .pub"}).items():
        assert_refused(run_cli("verify", run, "--key", tmp_path / name), said)


def test_unsigned_then_signed_then_changed(run: Path, key: Path, public: Path) -> None:
    before = (run / MANIFEST).read_bytes()
    assert "unsigned: who changes a file" in run_cli("verify", run).out
    done = run_cli("verify", run, "--key", public)
    assert (done.code, "NOT SIGNED by the key that was asked for" in done.out) == (1, True)
    name = fingerprint(read_public(public))
    assert f"signed {run} with the key {name}; signatures in it: 1" in run_cli("sign", run, "--key", key).out
    assert (run / MANIFEST).read_bytes() == before, "its hash, which somebody may have kept, stays what it was"
    done = run_cli("verify", run)
    assert (done.code, f"as signed: a key, {name}" in done.out, "--key PUBLIC asks" in done.out) == (0, True, True)
    done = run_cli("verify", run, "--key", public)
    assert (done.code, f"as signed: the key that was asked for, {name}" in done.out) == (0, True)

    rewritten(run, "model.safetensors", b"other")  # every hash fits, and the signature does not
    done = run_cli("verify", run, "--key", public)
    assert done.code == 1
    assert "changed after signing" in done.out
    assert "changed, new or gone since: 'model.safetensors'" in done.out
    assert run_cli("verify", run).code == 1


@pytest.mark.parametrize("name", ["config.json", "new.txt"])
def test_a_file_that_its_hash_betrays_is_not_as_signed_either(name: str, run: Path, key: Path, public: Path) -> None:
    sign_folder(run, key)
    (run / name).write_text("{}  ")
    done = run_cli("verify", run, "--key", public)
    assert done.code == 1
    assert f"changed, new or gone since: '{name}'" in done.out
    assert "as signed" not in done.out
    assert "NOT SIGNED by the key that was asked for, as it is now" in done.out


def test_an_audit_that_comes_later_is_named_until_it_is_signed_too(run: Path, key: Path, public: Path) -> None:
    sign_folder(run, key)
    add_to_run(run, {"audit.json": {"readings": [], "tier": "E3"}, "report.html": "<p>"}, step={"inputs": {}})
    assert run_cli("report", run).code == 2, "a made-up audit has no report"
    result = verify_run(run, public)
    assert not result["ok"]
    (one,) = result["signatures"]
    assert (one["state"], one["changed"]) == ("changed after signing", ["audit.json", "report.html"])
    sign_folder(run, key)
    assert verify_run(run, public)["ok"]
    assert len(verify_run(run)["signatures"]) == 1, "the same key's signature is replaced"
    make_key(key.parent / "second")
    assert sign_folder(run, key.parent / "second")["signatures"] == 2
    for each in ("key.pub", "second.pub"):
        assert verify_run(run, key.parent / each)["ok"]
    write_run(run, {"config.json": {"kind": "forget"}}, overwrite=True, manifest={})
    assert not verify_run(run)["signatures"], "another run is not signed"


def test_nobody_vouches_for_what_has_changed(run: Path, key: Path) -> None:
    (run / "model.safetensors").write_bytes(b"x")
    (run / "more.txt").write_bytes(b"x")
    done = run_cli("sign", run, "--key", key)
    assert_refused(done, "model.safetensors (changed)", "more.txt (not recorded)", "unlearnkit verify")


FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "another time": lambda one: one["statement"].update(signed="2020-01-01T00:00:00+00:00"),
    "another file": lambda one: one["statement"]["manifest"]["artefacts"].update({"model.safetensors": "0" * 64}),
    "a fact more": lambda one: one["statement"]["manifest"].update(approved=True),
    "another key": lambda one: one.update(key=base64.b64encode(bytes(range(32))).decode()),
    "another signature": lambda one: one.update(signature=base64.b64encode(bytes(64)).decode()),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_signature_is_told(how: str, run: Path, key: Path, public: Path) -> None:
    sign_folder(run, key)
    edit(run, FORGED[how])
    done = run_cli("verify", run, "--key", public)
    assert (done.code, "forged: a signature in the name of SHA256:" in done.out) == (1, True), done


def test_who_signs_it_again_with_an_own_key_is_not_the_one_asked_for(run: Path, key: Path, public: Path) -> None:
    sign_folder(run, key)
    (run / SIGNATURE).unlink()
    rewritten(run, "model.safetensors", b"other")
    make_key(key.parent / "thief")
    sign_folder(run, key.parent / "thief")
    assert verify_run(run)["ok"], "without a key to ask for, nobody can tell"
    assert not verify_run(run, public)["ok"]
    assert "nobody has checked" in run_cli("verify", run).out


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "no key": lambda one: one.pop("key"),
    "a short key": lambda one: one.update(key="AAAA"),
    "a number": lambda one: one.update(signature=1),
    "no statement": lambda one: one.pop("statement"),
    "no manifest": lambda one: one["statement"].pop("manifest"),
    "a manifest of no files": lambda one: one["statement"].update(manifest={}),
    "a time that is a sentence": lambda one: one["statement"].update(signed="2026, and everything is as signed"),
    "a list": lambda one: one["statement"].update(manifest=[]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_signature_is_one_sentence(how: str, run: Path, key: Path) -> None:
    sign_folder(run, key)
    edit(run, BROKEN[how])
    for words in (("verify", run), ("sign", run, "--key", key)):
        assert_refused(run_cli(*words), "signature.json")


def test_a_signature_that_is_a_link_is_refused(run: Path, key: Path, tmp_path: Path) -> None:
    sign_folder(run, key)
    (run / SIGNATURE).rename(tmp_path / "elsewhere")
    (run / SIGNATURE).symlink_to(tmp_path / "elsewhere")
    assert_refused(run_cli("verify", run), "signature.json", "a link to elsewhere")
    (run / SIGNATURE).unlink()
    (run / SIGNATURE).symlink_to(tmp_path / "nowhere")
    assert_refused(run_cli("verify", run), "signature.json", "a link to elsewhere")


def test_without_the_package_it_says_what_to_install(
    run: Path, key: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_folder(run, key)
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    for words in (("verify", run), ("verify", run, "--key", public), ("sign", run, "--key", key), ("keygen", "x")):
        assert_refused(run_cli(*words), "pip install 'unlearnkit[sign]'")
