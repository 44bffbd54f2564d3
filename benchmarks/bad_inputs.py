"""Inputs and commands that are wrong, each with words of the one sentence that it must get, and exit code 2.

`tests/cli/test_bad_inputs.py` runs them all through the command line, and `soak.py` counts them in its table.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from unlearnkit.cli import main

Words = list[object]


@dataclass(frozen=True)
class Material:
    """What the commands are given: a folder to write in, and a run folder of `train` on digits."""

    folder: Path
    run: Path

    @property
    def weights(self) -> Path:
        """The weights in the run folder."""
        return self.run / "model.safetensors"

    def file(self, name: str, content: bytes | str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def table(self, labels: object) -> str:
        """Return a data source of three pictures with these labels."""
        picture = io.BytesIO()
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(picture, "png")
        (self.folder / "table").mkdir()
        for side in ("train", "test"):
            rows = pa.table({"image": pa.array([picture.getvalue()] * 3, pa.binary()), "label": pa.array(labels)})
            pq.write_table(rows, self.folder / "table" / f"{side}.parquet")
        return f"parquet:{self.folder / 'table'}"

    def copy(self) -> Path:
        """Return a copy of the run folder."""
        return Path(shutil.copytree(self.run, self.folder / "copy"))

    def edited(self, name: str, text: str) -> Path:
        """Return a copy of the run folder with another text in one of its files."""
        (self.copy() / name).write_text(text)
        return self.folder / "copy"


class Evil:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def _train(*more: object, data: object = "digits", model: object = "small-cnn") -> Callable[[Material], Words]:
    return lambda m: ["train", "--model", model, "--data", data, "--out", m.folder / "out", *more]


def _forget(*more: object, weights: object = None, classes: tuple[object, ...] = (3,)) -> Callable[[Material], Words]:
    return lambda m: [
        *("forget", "--weights", weights or m.weights, "--data", "digits", "--out", m.folder / "out"),
        *(word for name in classes for word in ("--forget", name)),
        *more,
    ]


Case = tuple[Callable[[Material], Words], str]
CASES: dict[str, Case] = {
    # --- the model to train
    "a model that nobody knows": (_train(model="no-such-net"), "no-such-net"),
    "an option that is none": (_train(model="small-cnn,width"), "NAME=VALUE"),
    "an option twice": (_train(model="small-cnn,width=4,width=5"), "comes twice"),
    "an option that the data decides": (_train(model="small-cnn,num_classes=4"), "leave it out"),
    "a module that is not there": (_train(model="no.such.module:net"), "no.such.module"),
    "a network of timm that nobody knows": (_train(model="timm:no_such_net"), "no_such_net"),
    "published weights of a built-in model": (_train("--pretrained"), "pretrained"),
    "--init and --pretrained": (
        lambda m: [*_train("--pretrained", "--init", m.weights)(m)],
        "start from one of them",
    ),
    # --- data
    "a source that nobody knows": (_train(data="floppy:a"), "floppy:a"),
    "a source without its folder": (_train(data="parquet:"), "the folder is missing"),
    "a table that is not there": (_train(data="parquet:/no/such/place"), "/no/such/place"),
    "a folder that is not there": (_train(data="imagefolder:/no/such/place"), "/no/such/place"),
    "a folder of nothing": (lambda m: _train(data=f"imagefolder:{m.folder}")(m), "one folder for each class"),
    "an empty table": (
        lambda m: _train(data=f"parquet:{m.file('t/train.parquet', b'').parent}")(m),
        "parquet",
    ),
    "a table that is text": (
        lambda m: [
            m.file("t/test.parquet", "text"),
            *_train(data=f"parquet:{m.file('t/train.parquet', 'text').parent}")(m),
        ][1:],
        "cannot be read",
    ),
    "labels of 2**40": (lambda m: _train(data=m.table([0, 1, 2**40]))(m), "at most 100,000 classes"),
    "negative labels": (lambda m: _train(data=m.table([0, 1, -5]))(m), "-5"),
    "missing labels": (lambda m: _train(data=m.table([0, 1, None]))(m), "missing values"),
    "labels that are numbers with a point": (lambda m: _train(data=m.table([0.5, 1, 2]))(m), "integer labels"),
    "a column for digits": (_train("--label-column", "x"), "for a table alone"),
    "a column that is not there": (
        lambda m: [*_train(data=m.table([0, 1, 2]))(m), "--label-column", "nothing"],
        "'nothing'",
    ),
    "a data set of torchvision that nobody knows": (_train(data="torchvision:Nothing:/x"), "Nothing"),
    # --- options
    "a setting that is none": (_train("--set", "epochs"), "epochs"),
    "a setting that nobody knows": (_train("--set", "colour=red"), "colour"),
    "a setting of the wrong kind": (_train("--set", "epochs=many"), "epochs"),
    "a setting out of its range": (_train("--set", "epochs=0"), "epochs"),
    "a rate that is no number": (_train("--set", "lr=nan"), "lr"),
    "a rate without end": (_train("--set", "lr=1e999"), "lr"),
    "a negative seed": (_train("--seed", -1), "seed"),
    "a seed beyond 31 bits": (_train("--seed", 2**31), "seed"),
    "a mean of words": (_train("--mean", "a,b,c"), "--mean"),
    "a divisor of zero": (_train("--std", "0"), "std"),
    "two channels": (_train("--channels", "2"), "--channels"),
    "an image of a mile": (_train("--image-size", 100_000), "size"),
    "a device that nobody has": (_train("--device", "abacus"), "abacus"),
    "a 99th graphics card": (_train("--device", "cuda:99"), "cuda:99"),
    "a class to leave out that there is not": (_train("--exclude", "cat"), "'cat'"),
    "a class list that is not there": (_train("--classes", "/no/such/list"), "/no/such/list"),
    "an empty class list": (lambda m: _train("--classes", m.file("list", ""))(m), "it is empty"),
    "a class list with a name twice": (lambda m: _train("--classes", m.file("list", "a\na\n"))(m), "twice"),
    "a class list in no known text": (
        lambda m: _train("--classes", m.file("list", b"\xff\x00\xfa"))(m),
        "cannot be read",
    ),
    "a class list for other data": (lambda m: _train("--classes", m.file("list", "a\nb\n"))(m), "class"),
    # --- places
    "a place that is taken": (lambda m: [*_train()(m)[:-1], m.run], "exists"),
    "a place in a file": (lambda m: [*_train()(m)[:-1], m.file("f", "x") / "out"], "choose a folder"),
    "--overwrite of something else": (
        lambda m: [*_train()(m)[:-1], m.file("mine/letter.txt", "x").parent, "--overwrite"],
        "something else",
    ),
    "an interrupted training without --resume": (
        lambda m: [m.file("out.unfinished.safetensors", "x"), *_train()(m)][1:],
        "Expected --resume",
    ),
    # --- weights
    "weights that are not there": (_forget(weights="/no/such/file"), "/no/such/file"),
    "weights that are a folder": (lambda m: _forget(weights=m.folder)(m), "a folder"),
    "weights of no bytes": (lambda m: _forget(weights=m.file("w", b""))(m), "empty"),
    "weights cut short": (lambda m: _forget(weights=m.file("w", m.weights.read_bytes()[:5000]))(m), "copy the file"),
    "weights that are a web page": (lambda m: _forget(weights=m.file("w", "<html>"))(m), "a web page"),
    "weights that are a pickle of code": (lambda m: _forget(weights=m.file("w", pickle.dumps(Evil(), 2)))(m), "w"),
    "weights that were not fetched": (
        lambda m: _forget(weights=m.file("w", "version https://git-lfs.github.com/spec/v1"))(m),
        "git lfs pull",
    ),
    "--init that is text": (lambda m: _train("--init", m.file("w", "text"))(m), "another kind"),
    # --- requests
    "nothing to forget": (_forget(classes=()), "class"),
    "a class that there is not": (_forget(classes=("cat",)), "'cat'"),
    "a class id that there is not": (_forget(classes=(99,)), "99"),
    "a class twice": (_forget(classes=(3, "3")), "twice"),
    "all classes": (_forget(classes=tuple(range(10))), "class"),
    "a method that nobody knows": (_forget("--method", "amnesia"), "amnesia"),
    "a preset that nobody knows": (_forget("--preset", "luxury"), "luxury"),
    "a setting that the method has not": (_forget("--set", "colour=red"), "colour"),
    "an audit that is left out and asked for": (_forget("--no-audit", "--quick"), "--no-audit alone"),
    "a retrained model that is not there": (_forget("--retrained", "/no/such/model"), "/no/such/model"),
    "a language that nobody wrote": (_forget("--language", "xx"), "xx"),
    "a ledger that is text": (
        lambda m: _forget("--ledger", m.file("ledger", "no database " * 100))(m),
        "not a database",
    ),
    # --- run folders
    "an audit of nothing": (lambda _: ["audit"], "a run folder"),
    "an audit of a folder that is not there": (lambda _: ["audit", "/no/such/run"], "/no/such/run"),
    "an audit of a training": (lambda m: ["audit", m.run], "made by `forget`"),
    "an audit of a folder and of two files": (lambda m: ["audit", m.run, "--out", m.folder], "a run folder alone"),
    "a report of a training": (lambda m: ["report", m.copy()], "Expected"),
    "a report of nothing": (lambda m: ["report", m.folder], "manifest.json"),
    "a check of nothing": (lambda m: ["verify", m.folder], "manifest.json"),
    "a manifest that is no JSON": (lambda m: ["verify", m.edited("manifest.json", "{")], "damaged"),
    "a manifest that is a list": (lambda m: ["verify", m.edited("manifest.json", "[]")], "a JSON object"),
    "a manifest that leads out": (
        lambda m: ["verify", m.edited("manifest.json", json.dumps({"artefacts": {"../x": "0"}}))],
        "../x",
    ),
    "a manifest with a name twice": (
        lambda m: ["verify", m.edited("manifest.json", '{"artefacts": {}, "artefacts": {}}')],
        "stands twice",
    ),
    "a manifest of a million brackets": (lambda m: ["verify", m.edited("manifest.json", "[" * 10**6)], "nested"),
    "an export of nothing": (lambda m: ["export", m.folder, "--out", m.folder / "out"], "Expected"),
    "a retraining of nothing": (lambda m: ["retrain", "--of", m.folder, "--bank", m.folder / "bank"], "Expected"),
    "a retraining without a class": (
        lambda m: ["retrain", "--of", m.run, "--bank", m.folder / "bank"],
        "a class or rows to leave out",
    ),
    "a retraining of no model": (
        lambda m: ["retrain", "--of", m.run, "--bank", m.folder / "b", "--exclude", 3, "--count", 0],
        "--count 0",
    ),
    # --- signatures and the ledger
    "a key that is not there": (lambda m: ["sign", m.run, "--key", m.folder / "key"], "a key file"),
    "a key that is text": (lambda m: ["sign", m.run, "--key", m.file("key", "text")], "an Ed25519 private key"),
    "a public key that is text": (lambda m: ["verify", m.run, "--key", m.file("k", "text")], "an Ed25519 public key"),
    "a signature of something else": (
        lambda m: ["verify", m.edited("signature.json", '{"signatures": [{}]}')],
        "signature.json",
    ),
    "a key that is there": (lambda m: ["keygen", m.file("key", "x")], "no key is overwritten"),
    "a ledger that is not there": (lambda m: ["ledger", "list", "--ledger", m.folder / "l"], "there is none"),
    "no ledger": (lambda _: ["ledger", "list"], "UNLEARNKIT_LEDGER"),
    "a ledger of nothing": (lambda m: ["ledger", "add", "--ledger", m.folder / "l"], "a run folder to add"),
    "a ledger of another program": (
        lambda m: ["ledger", "verify", "--ledger", m.file("l", "text of some length " * 50)],
        "not a database",
    ),
    "half a hash": (
        lambda m: [*("ledger", "verify", "--ledger", m.file("l", "x"), "--head", "12ab")],
        "64 hexadecimal digits",
    ),
    # --- words
    "a name that a terminal acts on": (lambda m: [*_train()(m)[:-1], f"{m.folder}/\x1b[2K"], "control characters"),
    "a line break": (lambda m: [*_train()(m)[:-1], f"{m.folder}/a\nb"], "control characters"),
    "half a character": (lambda m: [*_train()(m)[:-1], f"{m.folder}/\udcff"], "control characters"),
}


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, what it printed, and what it should have said."""

    code: int
    out: str
    err: str
    wanted: str

    @property
    def fault(self) -> str | None:
        """What is wrong with the answer; None: it is one sentence with the wanted words, and exit code 2."""
        lines = [line for line in self.err.splitlines() if not line.startswith(("note: ", "images: "))]
        if self.code != 2:
            return f"exit code {self.code}"
        if self.out or len(lines) != 1 or not lines[0].startswith("unlearnkit: "):
            return "not one sentence"
        return None if self.wanted in lines[0] else f"no word of {self.wanted!r}"


def answer(name: str, material: Material) -> Answer:
    """Run a wrong command in this process, through the entry point of the command line."""
    make, wanted = CASES[name]
    words = [str(word) for word in make(material)]
    quick = ["--quiet", "--device", "cpu"] if words[0] in ("train", "forget", "retrain") else []
    quick = quick[:1] if "--device" in words else quick
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch("sys.argv", ["unlearnkit", *words, *quick]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return Answer(code, out.getvalue(), err.getvalue(), wanted)
