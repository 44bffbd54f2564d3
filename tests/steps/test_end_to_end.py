"""The whole flow on digits: train, retrain, forget, audit, report, as `unlearnkit demo` runs it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from brief import shorten
from commands import assert_refused, run_cli
from unlearnkit.cli.show import show_result
from unlearnkit.data.sources.registry import load_data
from unlearnkit.errors import OutputError
from unlearnkit.models import SmallCNN
from unlearnkit.report import render
from unlearnkit.report.words import ENGLISH
from unlearnkit.steps.demo import FORGOTTEN, METHOD, demo_run
from unlearnkit.steps.output import Output

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]  # one process makes the demo
ARTEFACTS = (
    "request.json",
    "config.json",
    "access.json",
    "cost.json",
    "audit.json",
    "manifest.json",
    "model.safetensors",
    "report.html",
)
GIB = 1 << 30
ODD = [int(name) for name in FORGOTTEN]
FOLDERS = {"retrained": "retrained-1"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        return out, demo_run(Output(out), seed=0)


def read(demo: tuple[Path, dict[str, Any]], name: str) -> Any:
    return json.loads((demo[0] / "unlearned" / name).read_text(encoding="utf-8"))


def value(demo: tuple[Path, dict[str, Any]], metric: str, model: str, part: str | None) -> float:
    found = [
        r
        for r in read(demo, "audit.json")["readings"]
        if (r["metric"], r["model"], r["part"], r["replicate"]) == (metric, model, part, 0)
    ]
    assert len(found) == 1
    return found[0]["value"]


def independent_accuracy(weights: Path, *, forgotten: bool) -> float:
    """Accuracy on test digits in plain torch, without the toolkit's loop, view or metrics."""
    model = SmallCNN(10, 1)
    model.load_state_dict(load_file(weights))
    data = load_data("digits")
    data.fix_shape(0)
    rows = torch.nonzero(torch.isin(data.test.labels, torch.tensor(ODD)) == forgotten).flatten()
    images = (data.test.images(rows, torch.device("cpu")).float() / 255 - 0.3) / 0.4
    with torch.no_grad():
        predictions = model.eval()(images).argmax(dim=1)
    return float((predictions == data.test.labels[rows]).double().mean())


def test_the_class_is_forgotten_and_the_rest_is_kept(demo: tuple[Path, dict[str, Any]]) -> None:
    assert value(demo, "accuracy", "original", "forget_test") >= 0.9
    assert value(demo, "accuracy", "unlearned", "forget_test") <= 0.02
    retrained = value(demo, "accuracy", "retrained", "retain_test")
    assert retrained >= 0.95
    assert value(demo, "accuracy", "unlearned", "retain_test") >= retrained - 0.02


def test_the_audit_agrees_with_plain_torch(demo: tuple[Path, dict[str, Any]]) -> None:
    for model in ("original", "unlearned", "retrained"):
        weights = demo[0] / FOLDERS.get(model, model) / "model.safetensors"
        for forgotten, part in ((False, "retain_test"), (True, "forget_test")):
            assert value(demo, "accuracy", model, part) == pytest.approx(
                independent_accuracy(weights, forgotten=forgotten)
            )


def test_no_forgotten_sample_is_read_by_the_method(demo: tuple[Path, dict[str, Any]]) -> None:
    access = read(demo, "access.json")
    assert access["forget_samples_read"] == 0
    assert access["forget_samples_read_by_audit"] > 0
    for part, classes in access["parts"].items():
        for name, counts in classes.items():
            assert set(counts) >= {"samples", "read_by_method", "read_by_audit", "decoded"}
            assert (name in FORGOTTEN) == part.startswith("forget")
            if part.startswith("forget") or part.endswith("test"):
                assert counts["read_by_method"] == 0
    retrained = json.loads((demo[0] / "retrained-1" / "access.json").read_text(encoding="utf-8"))
    excluded = retrained["parts"]["excluded_train"]["3"]
    assert (excluded["read_by_method"], excluded["decoded"]) == (0, 0)
    assert excluded["samples"] > 100


def test_every_artefact_is_there_and_has_its_hash(demo: tuple[Path, dict[str, Any]]) -> None:
    folder = demo[0] / "unlearned"
    manifest = read(demo, "manifest.json")
    for name in ARTEFACTS:
        assert (folder / name).is_file(), name
        if name != "manifest.json":
            assert manifest["artefacts"][name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert not [p for p in folder.iterdir() if p.name.startswith(".") or p.suffix == ".tmp"]
    assert {p.name for p in demo[0].iterdir()} == {"original", "retrained-1", "retrained-2", "retrained-3", "unlearned"}
    weights = demo[0] / "original" / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in manifest["inputs"].values()
    assert {"torch", "python", "unlearnkit"} <= set(manifest["versions"])
    assert manifest["seed"] == 0


def test_the_audit_file_has_its_documented_keys(demo: tuple[Path, dict[str, Any]]) -> None:
    content = read(demo, "audit.json")
    assert content["verdict"]["status"] in ("pass", "fail", "unknown")
    keys = {"metric", "model", "part", "value", "unit", "interval", "target", "band", "verdict", "doubts"}
    parts = {"retain_train", "retain_val", "forget_train", "retain_test", "forget_test", None}
    for reading in content["readings"]:
        assert keys <= set(reading)
        assert reading["model"] in ("original", "unlearned", "retrained")
        assert reading["part"] in parts
        assert reading["value"] is not None or reading["doubts"][0]["code"] == "unknown"
    metrics = {r["metric"] for r in content["readings"]}
    assert {"accuracy", "prediction_tv", "weight_distance", "relearn_steps", "cost_ratio"} <= metrics


def test_the_cost_file_has_its_documented_keys_and_adds_up(demo: tuple[Path, dict[str, Any]]) -> None:
    cost = read(demo, "cost.json")
    keys = {"seconds", "samples_forward", "samples_backward", "peak_memory_bytes"}
    assert all(set(stage) == keys for stage in (*cost["stages"].values(), cost["total"]))
    for key in ("samples_forward", "samples_backward"):
        assert cost["total"][key] == sum(stage[key] for stage in cost["stages"].values())
    assert cost["total"]["samples_forward"] > 0
    stages = sum(s["seconds"] for s in cost["stages"].values())
    assert stages <= cost["total"]["seconds"] < stages + 5
    assert 0 < cost["total"]["seconds"] < 60
    assert 10_000_000 < cost["total"]["peak_memory_bytes"] < 16 * GIB
    assert not any(name.startswith(("audit", "relearn")) for name in cost["stages"])


def test_the_request_and_the_configuration_are_recorded(demo: tuple[Path, dict[str, Any]]) -> None:
    request, config = read(demo, "request.json"), read(demo, "config.json")
    assert (request["forget"], request["forget_ids"], request["already_forgotten"]) == (list(FORGOTTEN), ODD, [])
    assert request["classes"] == [str(k) for k in range(10)]
    assert (config["kind"], config["model"], config["data"], config["seed"]) == ("forget", "small-cnn", "digits", 0)
    assert set(config["needs"]) <= {"retain_train", "retain_val"}


def test_the_weights_load_in_plain_torch(demo: tuple[Path, dict[str, Any]]) -> None:
    states = {}
    for name in ("original", "retrained-1", "unlearned"):
        states[name] = load_file(demo[0] / name / "model.safetensors")
        SmallCNN(10, 1).load_state_dict(states[name], strict=True)
        assert all(v.isfinite().all() for v in states[name].values() if v.is_floating_point())
    for key, tensor in states["original"].items():
        if tensor.is_floating_point():
            assert not torch.equal(tensor, states["retrained-1"][key]), key  # no backbone was kept
    changed = {key for key, tensor in states["original"].items() if not torch.equal(tensor, states["unlearned"][key])}
    assert {"head.weight"} < changed


def test_files_are_of_sane_size(demo: tuple[Path, dict[str, Any]]) -> None:
    folder = demo[0] / "unlearned"
    parameters = sum(v.numel() for v in SmallCNN(10, 1).state_dict().values())
    assert 4 * parameters <= (folder / "model.safetensors").stat().st_size < 5 * parameters + 5000
    assert 1000 < (folder / "report.html").stat().st_size < 3_000_000
    for path in folder.glob("*.json"):
        assert path.stat().st_size < 500_000, path.name


def test_the_report_stands_alone_and_names_the_class(demo: tuple[Path, dict[str, Any]]) -> None:
    page = (demo[0] / "unlearned" / "report.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html")
    assert "3" in page
    assert not any(link in page for link in ('src="http', "src='http", "@import", '<link rel="stylesheet"'))


def test_the_report_is_wholly_chinese_where_it_is_asked_for(demo: tuple[Path, dict[str, Any]]) -> None:
    page = render(demo[0] / "unlearned", "zh")
    assert '<html lang="zh-Hans">' in page
    assert 'lang="en"' not in page  # every doubt of a real audit is translated
    metrics = {reading["metric"] for reading in read(demo, "audit.json")["readings"]}
    assert metrics <= set(ENGLISH.METRICS)


def test_the_summary_is_what_was_written(demo: tuple[Path, dict[str, Any]]) -> None:
    summary = demo[1]
    assert summary["forget"] == list(FORGOTTEN)
    assert summary["cost"] == read(demo, "cost.json")["total"]
    assert summary["access"] == read(demo, "access.json")
    assert summary["audit"]["verdict"] == read(demo, "audit.json")["verdict"]


def test_it_passes_for_less_than_a_retraining_and_says_so(
    demo: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    show_result(demo[1])
    shown = capsys.readouterr().out.splitlines()
    assert demo[1]["method"] == METHOD
    assert next(line for line in shown if line.startswith("verdict: ")).startswith("verdict: pass (inside the band")
    assert re.fullmatch(r"cost against retraining: [\d.]+% of its time, 30% of its samples", shown[20])


def test_a_method_is_not_heard_about_what_the_audit_has_decided(
    demo: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    doubt = {"code": "directions_doubtful", "values": {"cosine": 0.5, "least": 0.65}}
    doubted = demo[1] | {"notes": demo[1]["notes"] | {"doubt": doubt}}
    warning = "warning: the method estimates how the forgotten class looks"
    show_result(doubted)
    assert warning not in capsys.readouterr().out
    audit = demo[1]["audit"]
    for other in ({"audit": audit | {"verdict": audit["verdict"] | {"status": "unknown"}}}, {"audit": None}):
        show_result({key: value for key, value in (doubted | other).items() if value is not None})
        assert warning in capsys.readouterr().out


def test_the_command_to_try_next_is_one_that_forget_takes(demo: tuple[Path, dict[str, Any]]) -> None:
    command = shlex.split(demo[1]["next"])
    named = dict(zip(command[2::2], command[3::2], strict=True))
    assert (command[:2], named["--method"]) == (["unlearnkit", "forget"], "unsir")
    given = [value for option, value in zip(command[2::2], command[3::2], strict=True) if option == "--retrained"]
    assert [Path(path).is_file() for path in given] == [True] * 3
    assert_refused(run_cli(*command[1:-1], demo[0] / "unlearned"), "exists", "--overwrite")  # it looks there last


def test_a_second_demo_does_not_overwrite_the_first(demo: tuple[Path, dict[str, Any]]) -> None:
    before = (demo[0] / "unlearned" / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match="exists"):
        demo_run(Output(demo[0]), seed=0)
    assert (demo[0] / "unlearned" / "manifest.json").read_bytes() == before
