"""Makes and reads Ed25519 keys: those of `ssh-keygen -t ed25519` and PEM files, by the package `cryptography`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnkit.disk.files import read_regular, write_new
from unlearnkit.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# Environment variable for the words that open an encrypted key; arguments of commands are seen by others.
PASSPHRASE = "UNLEARNKIT_PASSPHRASE"  # nosec B105  # a name
LARGEST = 20_000  # bytes; a key file has a few hundred
RAW = 32  # bytes of a public key


def make_key(path: Path) -> str:
    """Write a new private key, readable by its owner alone, and the public key beside it; return the fingerprint.

    Args:
        path: of the private key; the public one gets `.pub` behind it, in OpenSSH's format.

    Raises:
        OutputError: one of the files is there, or cannot be written.
        ConfigError: the package `cryptography` is not installed.
    """
    check_installed()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    words = os.environ.get(PASSPHRASE)
    locked: form.KeySerializationEncryption = form.NoEncryption()
    if words:
        locked = form.BestAvailableEncryption(words.encode())
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked)
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    public_path = path.with_name(f"{path.name}.pub")
    for file, data, mode in ((path, private, 0o600), (public_path, public + b" unlearnkit\n", 0o644)):
        try:
            write_new(file, data, mode=mode)
        except OSError as error:
            raise OutputError(
                f"Expected to write a new key to {file}, but got: {error.strerror or error}; choose another name, as "
                "no key is overwritten."
            ) from error
    return fingerprint(raw_of(key.public_key()))


def read_private(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        ConfigError: the file cannot be read, is no such key, or is encrypted with another passphrase than that in
            UNLEARNKIT_PASSPHRASE; or the package `cryptography` is not installed.
    """
    check_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = _read(path)
    words = os.environ.get(PASSPHRASE)
    load = form.load_ssh_private_key if b"OPENSSH PRIVATE" in data else form.load_pem_private_key
    try:
        key = load(data, words.encode() if words and b"PRIVATE" in data and _encrypted(data) else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"Expected an Ed25519 private key in {path}, but it cannot be read; make one with `unlearnkit keygen` or "
            f"`ssh-keygen -t ed25519`, and give the passphrase of an encrypted one in {PASSPHRASE}."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"Expected an Ed25519 private key in {path}, but it is of another kind ({type(key).__name__.strip('_')}); "
            "make one with `unlearnkit keygen` or `ssh-keygen -t ed25519`."
        )
    return key


def read_public(path: Path) -> bytes:
    """Read a public key, and return its 32 bytes.

    Raises:
        ConfigError: the file cannot be read, or is no such key; or the package `cryptography` is not installed.
    """
    check_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    data = _read(path)
    if b"PRIVATE" in data:
        raise ConfigError(
            f"Expected a public key in {path}, but it is a private one, which only its owner should have; give the "
            "file that ends in .pub."
        )
    key: object = None
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):  # said below, with whatever else is no such key
        key = (form.load_pem_public_key if data.lstrip().startswith(b"-----") else form.load_ssh_public_key)(data)
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            f"Expected an Ed25519 public key in {path} (`ssh-ed25519 AAAA...`, or PEM), but it is none; give the file "
            "that ends in .pub."
        )
    return raw_of(key)


def public_of(raw: bytes) -> Ed25519PublicKey:
    """Return the public key of 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(raw)


def raw_of(key: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    return bytes(key.public_bytes_raw())


def fingerprint(raw: bytes) -> str:
    """Return the name of a public key as `ssh-keygen -l` shows it, `SHA256:` and 43 characters."""
    kind = b"ssh-ed25519"
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, raw))
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def check_installed() -> None:
    """Refuse to go on without the package that signs.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "Expected the package cryptography for signatures, but it is not installed; pip install 'unlearnkit[sign]'."
        ) from error


def _encrypted(data: bytes) -> bool:
    """Whether a private key wants a passphrase: OpenSSH says `none` in it where it wants none."""
    if b"OPENSSH PRIVATE" not in data:
        return b"ENCRYPTED" in data
    body = b"".join(line for line in data.splitlines() if not line.startswith(b"-----"))
    try:
        return b"\x00\x00\x00\x04none" not in base64.b64decode(body)[:40]
    except ValueError:
        return False


def _read(path: Path) -> bytes:
    try:
        data = read_regular(path)
    except OSError as error:
        raise ConfigError(
            f"Expected a key file at {path}, but it cannot be read ({error.strerror or error}); check its name."
        ) from error
    if len(data) > LARGEST:
        raise ConfigError(f"Expected a key of a few hundred bytes in {path}, but got {len(data):,}; check its name.")
    return data
