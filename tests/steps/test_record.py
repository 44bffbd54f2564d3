"""What run folders record: every kind the same preprocessing; folders of earlier versions stay readable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from commands import WEIGHTS
from trained_once import CPU
from unlearnkit.errors import ConfigError
from unlearnkit.methods import UNSIR
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.models.checkpoint import file_sha256
from unlearnkit.run_dir import read_json
from unlearnkit.steps.audit import audit_folder, audit_pair
from unlearnkit.steps.auditing import AuditOptions, Depth
from unlearnkit.steps.export import export_run
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.report import report_run
from unlearnkit.steps.specs import CaseSpec, SearchSpec
from unlearnkit.steps.tune import tune_run
from unlearnkit.steps.verify import verify_run

pytestmark = pytest.mark.xdist_group("record")  # one process makes a folder of each kind
PREPROCESSING = ("image_size", "shape", "mean", "std", "crop_pct", "interpolation")
QUICK = AuditOptions(depth=Depth.QUICK)
KINDS = ("train", "forget", "tune", "audit")
# the keys that 0.1.0 wrote; a later version may add some, and drops none
WRITTEN: dict[str, set[str]] = {
    "train": {
        "kind", "model", "data", "exclude", "init", "pretrained", "fresh", "seed", "recipe", "precision", "runtime",
        "notes", "waited_for_data_seconds", "image_size", "mean", "std", "shape", "validation_accuracy",
        "validation_samples", "seconds", "out",
    },
    "forget": {
        "kind", "model", "weights", "data", "method", "preset", "overrides", "settings", "needs", "seed", "precision",
        "runtime", "waited_for_data_seconds", "notes", *PREPROCESSING,
    },
    "tune": {
        "kind", "model", "weights", "data", "forget", "already_forgotten", "method", "preset", "overrides", "needs",
        "space", "trials", "look_at_forgotten", "signal", "seed", "optuna",
    },
    "audit": {"kind", "model", "weights", "unlearned", "data", "seed", "precision", *PREPROCESSING},
    "export": {"kind", "from", "out", "classes", "removed", "model", "forgotten", *PREPROCESSING},
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(narrow_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run folder of each kind, all of the same digits."""
    place = tmp_path_factory.mktemp("kinds")
    out = {kind: place / kind for kind in ("forget", "tune", "audit", "export")} | {"train": narrow_run}
    spec = CaseSpec(weights=narrow_run / WEIGHTS, data="digits", forget=("3",))
    command = ("unlearnkit", "forget")
    forget_run(spec, MethodChoice("head-mask"), Output(out["forget"], command=command), audit=None, runtime=CPU)
    audit_pair(spec, out["forget"] / WEIGHTS, Output(out["audit"]), options=QUICK, runtime=CPU)
    export_run(out["forget"], Output(out["export"]))
    pytest.importorskip("optuna")
    choice = MethodChoice("finetune", settings=("recipe.epochs=1", "retain_per_class=5"))
    tune_run(spec, choice, Output(out["tune"]), search=SearchSpec(trials=2), runtime=CPU)
    return out


def config(folder: Path) -> dict[str, Any]:
    return read_json(folder, "config.json", "kind")


def test_every_kind_records_the_same_preprocessing(folders: dict[str, Path]) -> None:
    first = {key: config(folders["train"])[key] for key in PREPROCESSING}
    assert first == {
        "image_size": None, "shape": [1, 8, 8], "mean": [0.3], "std": [0.4], "crop_pct": 1.0,
        "interpolation": "bilinear",
    }  # fmt: skip
    for kind in (*KINDS[1:], "export"):
        assert {key: config(folders[kind])[key] for key in PREPROCESSING} == first, kind


@pytest.mark.parametrize("kind", WRITTEN)
def test_no_key_is_lost(kind: str, folders: dict[str, Path]) -> None:
    found = config(folders[kind])
    assert found["kind"] == kind
    assert not WRITTEN[kind] - found.keys()
    assert verify_run(folders[kind])["ok"]


def test_a_choice_is_recorded_as_it_was_given(folders: dict[str, Path]) -> None:
    found = config(folders["tune"])
    assert (found["method"], found["preset"]) == ("finetune", "default")
    assert found["overrides"] == ["recipe.epochs=1", "retain_per_class=5"]
    assert not {"recipe.epochs", "retain_per_class"} & found["space"].keys()
    assert config(folders["forget"])["overrides"] == []


def test_the_manifest_names_inputs_command_and_device(folders: dict[str, Path]) -> None:
    weights = folders["train"] / WEIGHTS
    manifest = read_json(folders["forget"], "manifest.json")
    assert manifest["inputs"] == {str(weights): file_sha256(weights)}
    assert (manifest["seed"], manifest["device"], manifest["command"]) == (0, "cpu", ["unlearnkit", "forget"])
    assert "language" not in manifest
    exported = read_json(folders["export"], "manifest.json")
    assert "seed" not in exported
    assert "device" not in exported
    assert len(read_json(folders["audit"], "manifest.json")["inputs"]) == 2


@pytest.mark.slow
def test_a_folder_of_before_the_crop_was_recorded_is_audited_reported_and_exported(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    old = Path(shutil.copytree(folders["forget"], tmp_path / "old"))
    later = ("crop_pct", "interpolation", "overrides", "preset", "runtime")
    content = {key: value for key, value in config(old).items() if key not in later}
    (old / "config.json").write_text(json.dumps(content))
    manifest = read_json(old, "manifest.json")
    manifest["artefacts"]["config.json"] = file_sha256(old / "config.json")
    (old / "manifest.json").write_text(json.dumps(manifest))
    assert verify_run(old)["ok"]
    audited = audit_folder(Output(old, command=("unlearnkit", "audit")), options=QUICK, seed=5, runtime=CPU)
    assert audited["readings"]
    (step,) = read_json(old, "manifest.json")["later_steps"]
    weights = folders["train"] / WEIGHTS
    assert step == {
        "inputs": {str(weights): file_sha256(weights)}, "seed": 5, "device": "cpu", "command": ["unlearnkit", "audit"],
    }  # fmt: skip
    assert report_run(old, language="zh").is_file()
    export_run(old, Output(tmp_path / "smaller"))
    assert verify_run(old)["ok"]


def test_a_choice_makes_its_method() -> None:
    choice = MethodChoice("unsir", "paper", ("repair.lr = 0.5", "retain_per_class=7"))
    assert choice.make() == UNSIR.paper().with_settings(["repair.lr=0.5", "retain_per_class=7"])
    assert choice.names_set == ["repair.lr", "retain_per_class"]
    assert choice.as_record() == {"method": "unsir", "preset": "paper", "overrides": [*choice.settings]}
    with pytest.raises(ConfigError, match="one of the methods"):
        MethodChoice("unsire").make()
