"""A tiny suite is run: results, resuming, failures, a changed suite, locks, and a full disk."""

from __future__ import annotations

import errno
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import unlearnkit.compare.work as work
from commands import assert_refused, run_cli
from row_data import write_people
from suites import TINY, comparison, tiny
from unlearnkit.compare.cells import cells_of
from unlearnkit.compare.plan import plan
from unlearnkit.compare.results import redraw
from unlearnkit.compare.rows import row_of
from unlearnkit.compare.subset import first_rows
from unlearnkit.disk.holding import held
from unlearnkit.errors import ConfigError, DataError, OutputError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("suites")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny suite was run; one of its two cells cannot be."""
    folder = tmp_path_factory.mktemp("suite")
    lines: list[str] = []
    comparison(tiny(), folder, lines).run()
    assert "retrained models, searches of settings: 3 to do" in lines, "each is a job of its own"
    assert sum(line.endswith(": trained") for line in lines) == 1 + 3
    return folder


def never(*_: object, **__: object) -> Any:
    raise AssertionError("computed again")


def test_every_cell_is_a_run_folder_and_a_file_and_a_failed_one_has_its_reason(made: Path) -> None:
    files = {path.stem: json.loads(path.read_text()) for path in (made / "out" / "results").glob("*.json")}
    failures = {content["cell"]["method"]: content["failure"] for content in files.values()}
    assert failures["original"] is None
    assert failures["ssd"].startswith("Expected alpha below")
    (name,) = (name for name, content in files.items() if content["failure"] is None)
    cell = files[name]
    assert (made / "out" / cell["run"] / "report.html").is_file()
    assert len(cell["retraining"]) == 3
    assert cell["control"] is True
    assert cell["verdict"]["status"] in ("pass", "fail", "unknown")
    folders = list((made / "bank").iterdir())
    assert len(folders) == 4  # the original and three retrained models
    assert all(cost["seconds"] > 0 for cost in cell["retraining"])


def test_finished_cells_are_judged_again_without_forgetting_anew(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update that changed bands; where that cannot be done, what was found before stays."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    (run,) = (folder / "out" / "cells").iterdir()
    weights = (run / "model.safetensors").read_bytes()
    place = folder / "out" / "results" / f"{run.name}.json"
    right = json.loads(place.read_text())
    place.write_text(
        json.dumps(right | {"verdict": {"status": "old"}, "versions": right["versions"] | {"torch": "of then"}})
    )
    monkeypatch.setattr(work, "forget_run", never)
    lines: list[str] = []
    comparison(tiny(), folder, lines).run(judge_again=True)
    found = json.loads(place.read_text())
    assert found["verdict"] == right["verdict"]
    assert found["read"] == right["read"], "the audit's reads are not the method's"
    assert found["versions"]["torch"] == "of then", "its seconds are of then"
    assert (run / "model.safetensors").read_bytes() == weights

    def fails(why: str) -> None:
        again = comparison(tiny(), folder, lines)
        again.run(judge_again=True)
        assert json.loads(place.read_text()) == found
        assert why in again.failures[run.name]
        assert any(run.name in line and why in line for line in lines)

    with monkeypatch.context() as patched:
        patched.setattr(work, "audit_folder", never)
        fails("computed again")
    (run / "model.safetensors").unlink()
    fails("Expected the run folder of a finished cell")
    with monkeypatch.context() as patched:
        patched.setattr(work, "retrain_run", never)
        again = comparison(tiny(), folder, [])
        again.run(judge_again=True)
        assert "computed again" in again.failures[run.name]


def test_seconds_of_a_retraining_whose_operations_were_counted_are_left_out(made: Path, tmp_path: Path) -> None:
    """Counting takes time, so a method would look cheap beside them; samples are what they are."""
    (run,) = (made / "out" / "cells").iterdir()
    shutil.copytree(next((made / "bank").iterdir()), tmp_path / "counted")
    cost = json.loads((tmp_path / "counted" / "cost.json").read_text())
    cost["total"]["operations"] = 10**9
    (tmp_path / "counted" / "cost.json").write_text(json.dumps(cost))
    (cell,) = (cell for cell in cells_of(tiny()) if cell.name == run.name)
    (spent,) = row_of(run, cell, [tmp_path / "counted"])["retraining"]
    assert (spent["seconds"], spent["samples_forward"]) == (None, cost["total"]["samples_forward"])


def test_what_the_method_itself_doubts_stands_in_the_row(made: Path, tmp_path: Path) -> None:
    (run,) = (made / "out" / "cells").iterdir()
    (cell,) = (cell for cell in cells_of(tiny()) if cell.name == run.name)
    assert row_of(run, cell, [])["doubt"] is None
    doubt = {"code": "directions_doubtful", "values": {"cosine": 0.5, "least": 0.65}}
    shutil.copytree(run, tmp_path / run.name)
    config = json.loads((run / "config.json").read_text())
    (tmp_path / run.name / "config.json").write_text(json.dumps(config | {"notes": {"doubt": doubt}}))
    assert row_of(tmp_path / run.name, cell, [])["doubt"] == doubt


def test_tables_and_page_are_written_and_redrawn(made: Path, tmp_path: Path) -> None:
    (folder,) = (made / "out" / "suites").iterdir()
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    assert [(row["method"], row["failure"] is None) for row in rows] == [("original", True), ("ssd", False)]
    assert rows[0]["primary/accuracy/retain_test"] is not None
    text = (folder / "results.md").read_text()
    assert "| `original` (control) | default | no |" in text
    assert "- `ssd`, paper: Expected alpha below" in text
    assert r"original & default &" in (folder / "results.tex").read_text()
    page = (folder / "index.html").read_text()
    measured = re.compile(r"Measured with unlearnkit [^ ]+, torch [^ ]+ on cpu \(")
    assert measured.search(text)
    assert measured.search(page)
    (link,) = re.findall('href="([^"]*report.html)"', page)
    assert (folder / link).resolve().is_file()
    copy = tmp_path / "results.json"
    copy.write_bytes(b" " + (folder / "results.json").read_bytes())
    redraw(copy)
    assert "report.html" not in (tmp_path / "index.html").read_text(), "no run lies beside it there"
    assert copy.read_bytes().startswith(b" "), "what it is drawn from stays as it is"
    for name in ("results.md", "results.tex"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    redraw(folder)
    assert (folder / "index.html").read_text() == page
    copy.write_text("{}")
    with pytest.raises(ConfigError, match="holds something else"):
        redraw(copy)


def test_all_suites_of_a_folder_are_drawn_again_at_once(made: Path, tmp_path: Path) -> None:
    (folder,) = (made / "out" / "suites").iterdir()
    for name in ("one", "two"):
        (tmp_path / "suites" / name).mkdir(parents=True)
        shutil.copy(folder / "results.json", tmp_path / "suites" / name)
    assert run_cli("compare", "--redraw", tmp_path / "suites").code == 0
    for name in ("one", "two"):
        assert (tmp_path / "suites" / name / "results.md").read_bytes() == (folder / "results.md").read_bytes()
    assert_refused(run_cli("compare", "--redraw", tmp_path), "results of a suite in")


def test_what_is_finished_is_not_done_again_and_what_failed_is_tried(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    forget = work.forget_run
    monkeypatch.setattr(work, "audit_folder", never)
    monkeypatch.setattr(work, "forget_run", lambda *a, **k: (tried.append(a[1].name), forget(*a, **k)))
    monkeypatch.setattr("unlearnkit.steps.bank_entry.train_run", never)
    lines: list[str] = []
    results = comparison(tiny(), made, lines).run()
    assert tried == ["ssd"]
    assert lines[0] == "tiny: 2 cells, 1 finished earlier"
    assert [row["failure"] is None for row in results["groups"][0]["rows"]] == [True, False]


def test_finished_cells_whose_run_folder_is_gone_are_named(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    suite = tiny(methods=[{"name": "original"}])
    lines: list[str] = []
    comparison(suite, folder, lines).run()
    assert not any("run folder" in line for line in lines)
    (run,) = (folder / "out" / "cells").iterdir()
    shutil.rmtree(run)
    lines.clear()
    results = comparison(suite, folder, lines).run()
    (line,) = (line for line in lines if "run folder" in line)
    assert line.startswith(f"without a run folder: 1 finished cell (as {run.name}), whose rows stay without a link")
    assert f"delete {folder / 'out' / 'results'}/NAME.json to run a cell anew" in line
    assert [row["failure"] for row in results["groups"][0]["rows"]] == [None], "it stays finished"
    assert not run.exists()
    (folder / "out" / "results" / f"{run.name}.json").unlink()
    comparison(suite, folder, []).run()
    assert (run / "report.html").is_file(), "as the line says"


def test_a_changed_suite_says_what_changed_and_both_are_kept(made: Path) -> None:
    lines: list[str] = []
    changed = tiny(methods=[{"name": "original"}, {"name": "head-mask"}])
    comparison(changed, made, lines).run()
    assert "changed since the last run here: method ssd: not there any more" in lines
    assert "changed since the last run here: method head-mask: new" in lines
    assert "tiny: 2 cells, 1 finished earlier" in lines
    folders = list((made / "out" / "suites").iterdir())
    assert len(folders) == 2
    assert all((folder / "index.html").is_file() for folder in folders)
    (made / "out" / "suite.json").write_text("{")
    with pytest.raises(OutputError, match="take the file away"):
        comparison(changed, made, []).run()
    (made / "out" / "suite.json").unlink()


def test_an_interrupted_suite_leaves_tables_and_page_of_what_is_finished(made: Path) -> None:
    suite = tiny(methods=[{"name": "original"}, {"name": "head-mask"}], unlearning_seeds=[5])
    lines: list[str] = []

    def impatient(line: str) -> None:
        lines.append(line)
        if line.startswith("[2/2]"):
            raise KeyboardInterrupt

    stopped = comparison(suite, made, [], say=impatient)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert "cells: 2 to do" in lines
    rows = json.loads((stopped.folder / "results.json").read_text())["groups"][0]["rows"]
    assert [row["method"] for row in rows if row["failure"] is None] == ["original"]
    assert (stopped.folder / "index.html").is_file()


def test_a_second_comparison_in_the_folder_waits_its_turn(made: Path) -> None:
    with held(made / "out"), pytest.raises(OutputError, match="is working on it"):
        comparison(tiny(), made, []).run()


def test_a_full_disk_ends_the_suite_with_a_sentence_and_the_next_run_goes_on(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tiny(methods=[{"name": "original"}, {"name": "head-mask"}, {"name": "ssd", "preset": "paper"}])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(work, "replace_file", full)
        with pytest.raises(OutputError, match=r"No space left on device; make room .* finished cells are kept"):
            comparison(suite, made, []).run()
    with monkeypatch.context() as patch:  # the disk is full while a run folder is written
        patch.setattr("unlearnkit.run_dir.write_new", full)
        told: list[str] = []
        with pytest.raises(
            OutputError, match=r"No space left on device \(Expected .* choose another place\); make room"
        ):
            comparison(tiny(unlearning_seeds=[7, 8], methods=[{"name": "original"}]), made, told).run()
    assert not any(line.startswith("[2/2] original") for line in told), "the next cell would fail for it, too"
    lines: list[str] = []
    comparison(suite, made, lines).run()
    assert any(line.startswith("tiny: 3 cells, ") and not line.endswith(" 0 finished earlier") for line in lines)


def test_cells_without_data_are_recorded_and_the_others_go_on(made: Path, tmp_path: Path) -> None:
    gone = TINY["settings"][0] | {"data": "parquet:{data}/none"}
    suite = tiny(settings=[gone, TINY["settings"][0]], methods=[{"name": "original"}])
    results = comparison(suite, made, []).run()
    failures = [group["rows"][0]["failure"] for group in results["groups"]]
    assert "give --data DIR, or set UNLEARNKIT_DATA" in failures[0]
    assert failures[1] is None
    results = comparison(suite, made, [], place={"data": tmp_path}).run()
    assert str(tmp_path) in results["groups"][0]["rows"][0]["failure"]


def test_a_plan_says_which_requests_cannot_be_run_and_what_the_others_cost(tmp_path: Path) -> None:
    requests = [{"forget": ["3"]}, {"forget": ["cat"]}, {"forget": list("0123456789")}]
    cells = cells_of(tiny(settings=[TINY["settings"][0] | {"requests": requests}], methods=[{"name": "original"}]))
    lines = plan(cells, cells, work.Place(out=tmp_path, bank=tmp_path / "none", device="cpu"), 1).lines
    assert lines[0] == "3 cells, 0 finished, 3 to run"
    assert re.search(r"1 cell cannot be run: .*'cat'", lines[1])
    assert (
        "1 cell cannot be run: Expected at least one class to stay, but the request leaves none of the 10" in lines[2]
    )
    assert re.search(r": 1 original \d+ s, 3 retrained models \d+ s, 1 run ", lines[3])


def test_the_command_plans_runs_and_names_what_there_is(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(
        'title = "tiny"\naudit = "quick"\n[[settings]]\ndata = "digits"\nmodel = "small-cnn,width=4"\n'
        'recipe = ["epochs=1"]\nrequests = [{ forget = ["3"] }]\n[[methods]]\nname = "original"\n'
    )
    at = ("--out", made / "out", "--bank", made / "bank", "--device", "cpu")
    done = run_cli("compare", file, "--out", tmp_path / "new", "--bank", tmp_path / "none", "--plan")
    assert done.code == 0, done.err
    assert "1 cell, 0 finished, 1 to run" in done.out
    assert re.search(r"1 original \d+ s, 3 retrained models \d+ s, 1 run \d+ s, audits ", done.out)
    assert not (tmp_path / "new").exists()
    assert "in the bank" not in done.out, "no bank, nothing to take from it"
    done = run_cli("compare", file, "--out", tmp_path / "new", "--bank", made / "bank", "--plan")
    assert "1 original (1 in the bank) 0 s, 3 retrained models (3 in the bank) 0 s, 1 run " in done.out
    done = run_cli("compare", file, *at)
    assert done.code == 0, done.err
    assert "1 cell, 1 finished, 0 to run" in done.out
    assert "tiny: 1 cell, 1 finished earlier" in done.out
    assert Path(done.out.splitlines()[-1]).is_file()
    with monkeypatch.context() as patched:
        patched.setattr(work, "audit_folder", never)
        done = run_cli("compare", file, *at, "--judge-again", "--plan")
        assert done.code == 0, done.err
        assert "to be audited again: 1 finished cell" in done.out
        held = "1 original (1 in the bank) 0 s, 3 retrained models (3 in the bank) 0 s, audits "
        assert re.search(rf"{re.escape(held)}\d+ s\nabout \d+ s of work$", done.out.strip())
        done = run_cli("compare", file, *at, "--judge-again")
        assert "to be audited again: 1 finished cell" in done.out
        assert (done.code, "1 cell failed" in done.out) == (1, True), "what could not be judged again is no success"
        assert run_cli("compare", file, *at, "--judge-again", "--quiet").code == 1
    assert run_cli("compare", file, *at, "--judge-again").code == 0
    assert "cifar10-small" in run_cli("compare", "--list").out
    for words, said in (
        (("--out", tmp_path), "Expected a suite or --row ID"),
        ((file,), "give --out DIR"),
        (
            ("--row", "unsir-cifar10-resnet18-1-retaind", "--out", tmp_path),
            "did you mean 'unsir-cifar10-resnet18-1-retained'",
        ),
        ((file, *at, "--jobs", 0), "at least one job"),
        ((file, *at, "--backend", "dask"), "--address tcp://HOST:PORT"),
        ((file, *at, "--address", "tcp://x:1"), "beside --address"),
    ):
        done = run_cli("compare", *words)
        assert done.code == 2, done.out
        assert said in done.err


def test_rows_and_a_subclass_are_compared_on_the_first_rows_of_the_data(tmp_path: Path) -> None:
    write_people(tmp_path / "people")
    setting = TINY["settings"][0] | {
        "data": "parquet:{data}/people",
        "samples": 30,
        "label_column": "label",
        "recipe": ["epochs=1", "batch_size=8"],
        "requests": [{"subclass": ["ant:red"]}, {"random": 0.1, "draw": 2}],
    }
    suite = tiny(settings=[setting], methods=[{"name": "finetune", "set": ["recipe.epochs=1"]}])
    run = comparison(suite, tmp_path, [], place={"data": tmp_path})
    first, second = run.run()["groups"]
    assert (first["forget"], second["forget"]) == (["part ant:red"], ["10% of the rows"])
    assert [group["rows"][0]["failure"] for group in (first, second)] == [None, None]
    assert {"accuracy/forget_train", "margin_distance/forget_train"} <= first["rows"][0]["primary"].keys()
    text = (run.folder / "results.md").read_text()
    assert "forget part ant:red" in text
    assert "article" not in text, "it speaks of classes"
    (copy,) = (tmp_path / "out" / "data").iterdir()
    assert [pq.read_metadata(copy / f"{side}.parquet").num_rows for side in ("train", "test")] == [30, 12]
    gone = json.loads((tmp_path / "out" / first["rows"][0]["run"] / "request.json").read_text())
    assert [rows["numbers"] for rows in gone["subclasses"][0]["rows"]] == [list(range(0, 30, 6)), [0, 6]]
    cells = cells_of(suite)
    new = work.Place(out=tmp_path / "new", bank=tmp_path / "bank", data=tmp_path, device="cpu")
    assert "1 original (1 in the bank) 0 s" in plan(cells, cells, new, 1).lines[1]
    assert not new.out.exists()
    with pytest.raises(DataError, match="at least 99 training rows"):
        first_rows(f"parquet:{tmp_path / 'people'}", 99, tmp_path / "more")
