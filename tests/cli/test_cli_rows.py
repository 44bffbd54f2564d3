"""Requests for rows and subclasses through the command line: from training to the report, in a sequence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from commands import WEIGHTS, assert_refused, run_cli, tree
from row_data import write_people
from unlearnkit.audit.metric import ROWS
from unlearnkit.audit.metrics.registry import votes_for
from unlearnkit.models.checkpoint import read_checkpoint

ASKED = [4, 9, *range(0, 36, 6)]  # by number, and the red ants


@dataclass(frozen=True)
class Place:
    """A trained model, and one that was made to forget rows and a subclass of it."""

    folder: Path
    data: str
    original: Path
    forgotten: Path

    def forget(self, out: str, *args: object, weights: Path | None = None) -> list[object]:
        """The words of a command that forgets without an audit."""
        return [
            *("forget", "--data", self.data, "--weights", weights or self.original / WEIGHTS),
            *("--label-column", "label", "--out", self.folder / out, "--no-audit", "-q", "--device", "cpu", *args),
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("rows")
    found = Place(folder, f"parquet:{write_people(folder / 'data')}", folder / "original", folder / "forgotten")
    train = ["train", "--model", "small-cnn,width=4", "--data", found.data, "--label-column", "label", "-q"]
    assert run_cli(*train, "--epochs", 1, "--out", found.original).code == 0
    (folder / "rows.csv").write_text("row\n9\n4\n")
    rows = ["--forget-rows", folder / "rows.csv", "--forget-subclass", "ant:red", "--method", "finetune"]
    done = run_cli(*found.forget("forgotten", *rows, "--set", "recipe.epochs=1", "--set", "recipe.batch_size=8"))
    assert done.code == 0, done.err
    return found


def read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return content


def test_a_request_for_rows_is_recorded_by_number_and_content(place: Place) -> None:
    request, access = read(place.forgotten, "request.json"), read(place.forgotten, "access.json")
    (single,), (subclass,) = request["rows"], request["subclasses"]
    assert (request["forget"], single["numbers"]) == ([], [4, 9])
    assert [rows["numbers"] for rows in subclass["rows"]] == [list(range(0, 36, 6)), [0, 6]]
    assert request["classes_of_rows"] == {"ant": 7, "bee": 1}
    assert (request["duplicates"]["exact"], request["duplicates"]["looked_at"]) == (0, 28)
    assert (access["forget_samples_read"], access["forget_samples_read_by_naming"]) == (0, 10)
    assert sum(counts["samples"] for counts in access["parts"]["forget_train"].values()) == len(ASKED)
    card = read_checkpoint(place.forgotten / WEIGHTS).card
    assert card is not None
    assert (card.forgotten, [rows.numbers for rows in card.forgotten_rows]) == ((), [tuple(sorted(ASKED)), (0, 6)])
    assert "forgotten_rows" not in read_checkpoint(place.original / WEIGHTS).card.as_record()  # type: ignore[union-attr]


@pytest.mark.slow
def test_rows_are_audited_against_models_that_were_retrained_without_them(place: Place) -> None:
    made = run_cli("retrain", "--of", place.forgotten, "--count", 3, "--bank", place.folder / "bank", "-q")
    assert made.code == 0, made.err
    done = run_cli("audit", place.forgotten, "--references", place.folder / "bank", "-q", "--device", "cpu")
    assert done.code == 0, done.err
    audit = read(place.forgotten, "audit.json")
    assert audit["votes"] == [vote.key for vote in votes_for(ROWS)]
    measured = {f"{r['metric']}/{r['part']}" for r in audit["readings"] if r["model"] == "unlearned" and r["verdict"]}
    assert {"accuracy/forget_train", "margin_distance/forget_train", "return_recovery/forget_train"} <= measured
    assert not any(r["metric"] == "probe_recovery" for r in audit["readings"])
    page = (place.forgotten / "report.html").read_text(encoding="utf-8")
    assert "8 pictures of 2 classes" in page
    assert "none of them is shown" in page
    assert run_cli("report", place.forgotten, "--language", "zh").code == 0
    page = (place.forgotten / "report.html").read_text(encoding="utf-8")
    assert "2 个类别的 8 张图片" in page
    first = read_checkpoint(next((place.folder / "bank").iterdir()) / WEIGHTS).card
    assert first is not None
    assert [len(rows.numbers) for rows in first.forgotten_rows] == [8, 2]
    wrong = run_cli("audit", place.forgotten, "--retrained", place.original / WEIGHTS, "-q")
    assert_refused(wrong, "retrained without the 10 rows", "records 0 rows")


def test_a_request_means_the_same_after_the_data_was_reordered(place: Place) -> None:
    moved = write_people(place.folder / "moved", order=[*range(20, 36), *range(20)])
    done = run_cli("audit", place.forgotten, "--data", f"parquet:{moved}", "--quick", "-q", "--device", "cpu")
    assert done.code == 0, done.err
    access = read(place.forgotten, "access.json")
    assert {k: v["samples"] for k, v in access["parts"]["forget_train"].items()} == {"ant": 7, "bee": 1}
    assert access["parts"]["retain_train"]["cat"]["read_by_naming"] > 0  # all were looked at, to find them


def test_rows_forgotten_before_are_left_out_of_the_next_request(place: Place) -> None:
    weights = place.forgotten / WEIGHTS
    again = run_cli(*place.forget("no", "--forget-where", "person=p4", "--method", "finetune", weights=weights))
    assert_refused(again, "row 4 is already forgotten")
    done = run_cli(
        *place.forget("next", "--forget-where", "person=p5", "--method", "neggrad+", weights=weights),
        *("--set", "recipe.epochs=1", "--no-duplicates"),
    )
    assert done.code == 0, done.err
    request, access = read(place.folder / "next", "request.json"), read(place.folder / "next", "access.json")
    assert [len(rows["numbers"]) for rows in request["already_forgotten_rows"]] == [8, 2]
    assert request["duplicates"] is None
    excluded = access["parts"]["excluded_train"]
    assert sum(counts["samples"] for counts in excluded.values()) == 8
    assert sum(counts["decoded"] for counts in excluded.values()) == 0
    card = read_checkpoint(place.folder / "next" / WEIGHTS).card
    assert card is not None
    assert [len(rows.numbers) for rows in card.forgotten_rows] == [14, 2]


CLASS, ROWS_OF_P1 = ["--forget", "bee"], ["--forget-where", "person=p1"]
SEQUENCES = {  # what goes first, what follows, and the training rows that are gone before the second
    "a class after rows": (["--forget-where", "person=p4"], CLASS, list(range(4, 36, 6))),
    "rows after a class": (["--forget", "cat"], ROWS_OF_P1, list(range(2, 36, 3))),
    "a subclass after rows": (ROWS_OF_P1, ["--forget-subclass", "ant:red"], list(range(1, 36, 6))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_what_was_forgotten_earlier_is_never_read_again(place: Place, name: str, tmp_path: Path) -> None:
    first, second, gone = SEQUENCES[name]
    quick = ["--method", "finetune", "--set", "recipe.epochs=1", "--set", "recipe.batch_size=8", "--no-duplicates"]
    done = run_cli(*place.forget(str(tmp_path / "first"), *first, *quick))
    assert done.code == 0, done.err
    again = place.forget(str(tmp_path / "no"), *first, *quick, weights=tmp_path / "first" / WEIGHTS)
    assert_refused(run_cli(*again), "already forgotten")
    done = run_cli(*place.forget(str(tmp_path / "second"), *second, *quick, weights=tmp_path / "first" / WEIGHTS))
    assert done.code == 0, done.err
    made = run_cli("retrain", "--of", tmp_path / "second", "--count", 3, "--bank", tmp_path / "bank", "-q")
    assert made.code == 0, made.err
    done = run_cli("audit", tmp_path / "second", "--references", tmp_path / "bank", "--quick", "-q", "--device", "cpu")
    assert done.code == 0, done.err
    parts = read(tmp_path / "second", "access.json")["parts"]
    excluded = [counts for side in ("train", "test") for counts in parts.get(f"excluded_{side}", {}).values()]
    assert sum(counts["samples"] for counts in parts["excluded_train"].values()) == len(gone)
    assert not any(counts[key] for counts in excluded for key in ("read_by_method", "read_by_audit", "decoded"))
    left_out = [path.parent / "access.json" for path in (tmp_path / "bank").glob("*/model.safetensors")]
    of_training = [json.loads(path.read_text())["parts"]["excluded_train"] for path in left_out]
    assert len(of_training) == 3
    assert not any(counts["read_by_method"] for each in of_training for counts in each.values())


def test_training_leaves_rows_out(place: Place) -> None:
    out = place.folder / "without"
    train = ["train", "--model", "small-cnn,width=4", "--data", place.data, "--label-column", "label", "-q"]
    done = run_cli(*train, "--epochs", 1, "--exclude-rows", place.folder / "rows.csv", "--out", out)
    assert done.code == 0, done.err
    card, access = read_checkpoint(out / WEIGHTS).card, read(out, "access.json")
    assert card is not None
    assert [rows.numbers for rows in card.forgotten_rows] == [(4, 9)]
    assert access["forget_samples_read"] == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--forget-where", "person=p1"], ["auto forgets classes alone", "finetune"]),
        (["--forget-where", "person=p1", "--method", "delete"], ["rows", "delete forgets classes alone"]),
        (["--forget-subclass", "ant:red"], ["forget subclasses", "auto"]),
        (["--forget-where", "peson=p1", "--method", "ssd"], ["did you mean 'person'"]),
        (["--forget-rows", "gone.csv", "--method", "ssd"], ["gone.csv", "cannot be read"]),
        (["--forget-where", "fine=honey", "--method", "ssd"], ["class 'bee'", "--forget bee"]),
        (["--forget", "bee", "--forget-where", "person=p1", "--method", "ssd"], ["'bee', which the request forgets"]),
    ],
)
def test_requests_that_cannot_be_met_leave_nothing(place: Place, args: list[str], words: list[str]) -> None:
    before = tree(place.folder)
    assert_refused(run_cli(*place.forget("refused", *args)), *words)
    assert tree(place.folder) == before


def test_a_damaged_request_is_refused(place: Place) -> None:
    folder = place.folder / "damaged"
    made = run_cli(*place.forget("damaged", "--forget-where", "taken=2001", "--method", "original"))
    assert made.code == 0, made.err
    request = read(folder, "request.json")
    request["rows"][0]["sha256"] = ["x"]
    (folder / "request.json").write_text(json.dumps(request))
    assert_refused(run_cli("audit", folder, "--quick"), "rows with their numbers and hashes", "request.json")
