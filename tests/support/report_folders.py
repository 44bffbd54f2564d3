"""Run folders as the report reads them, with made-up artefacts: every figure has its own number, to be found again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from unlearnkit.audit.doubts import Doubt, unknown
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.report import render
from unlearnkit.run_dir import write_run
from unlearnkit.steps import drawing

DIGEST = "ab12cd34ef56" + "0" * 52
HOSTILE = [
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "x" * 200,
    "\u202eشيء\u202c",
    "🐈 cat",
    "nul\x00 and \x1b[31m",
    "]]></svg><img src=x onerror=alert(2)>",
    "{{ 7 * 7 }}",
    "=HYPERLINK(1)",
    "</script><!--",
]
VOTES = [*(vote.key for vote in PRIMARY), "relearn_steps"]  # the last voted in 0.2.0, whose audits are read still
PICTURE = "drawn.png"
ANIMALS = ["cat", "dog", "emu", "fox"]
Make = Callable[..., Path]


def reading(metric: str, model: str, value: float | None, unit: str = "fraction", **more: Any) -> dict[str, Any]:
    return {
        "metric": metric,
        "model": model,
        "value": value,
        "unit": unit,
        "target": "match_retrain",
        "part": None,
        "replicate": 0,
        "interval": None,
        "series": None,
        "band": None,
        "verdict": None,
        "doubts": [],
    } | more


def audit_json(classes: list[str], retrained: int = 1) -> dict[str, Any]:
    """Audit of a model that forgot the first of `classes`: every figure has its own number, to be found again."""
    gone, kept = classes[0], classes[1:]
    readings = []
    models = [("original", 0, 0.9876, 0.96), ("unlearned", 0, 0.0321, 0.8768)]
    models += [("retrained", i, 0.0123 + i / 100, 0.955 + i / 100) for i in range(retrained)]
    for model, i, forget, retain in models:
        who = {"model": model, "replicate": i}
        interval = [forget / 2, min(1.0, forget + 0.1)]
        readings += [
            reading(
                "accuracy",
                value=forget,
                part="forget_test",
                interval=interval,
                series={gone: forget},
                doubts=[asdict(Doubt("small_sample", {"n": 36}))],
                **who,
            ),
            reading("accuracy", value=retain, part="retain_test", series=dict.fromkeys(kept, retain), **who),
            reading(
                "prediction_max_share",
                value=0.5,
                part="forget_test",
                series={k: 1 / len(classes) for k in classes},
                **who,
            ),
            reading(
                "relearn_steps",
                value=256.0 if model == "retrained" else 29.0,
                unit="steps",
                series={"1": 0.0, "2": 0.5, "29": 1.0},
                doubts=[asdict(Doubt("censored", {"steps": 256}))] if model == "retrained" else [],
                **who,
            ),
            *recovered(kept, forget, who),
        ]
        if model != "original":
            readings.append(reading("weight_distance", value=4.5, unit="L2", series={"stem": 0.0, "head": 2.5}, **who))
    if retrained:
        readings += [
            reading("cost_seconds", "retrained", 41.0, "seconds"),
            reading("cost_ratio", "unlearned", 12.5, "ratio"),
        ]
    return {
        "readings": readings,
        "schema": 2,
        "votes": VOTES,
        "verdict": {
            "status": "unknown",
            "why": [asdict(Doubt("remark", {"text": "three retrained models are needed"}))],
        },
        "retrained": [{"path": f"/runs/retrained-{i}/model.safetensors", "sha256": DIGEST} for i in range(retrained)],
        "seed": 0,
    }


def recovered(kept: list[str], forget: float, who: dict[str, Any]) -> list[dict[str, Any]]:
    """Readings with a series over layers, shots, samples, rates, and the nearest classes."""
    test = {"part": "forget_test"}
    return [
        reading("collateral_accuracy", value=0.9, part="retain_test", series=dict.fromkeys(kept[:2], 0.9), **who),
        reading("probe_recovery", value=0.75, series={"stem": 0.25, "<body>": 0.5, "head": 0.75}, **test, **who),
        reading("few_shot_recovery", value=0.8, series={"1": 0.3, "5": 0.6, "20": 0.8}, **test, **who),
        reading("return_recovery", value=forget, series={"0": 0.0, "25 x 0.001": forget}, **test, **who),
        reading("loss", value=4.5, unit="nats", series={"0": forget, "1": 1 - forget}, **test, **who),
        reading("output_entropy", value=0.4, unit="nats", series={"0": 0.5, "0.25": 0.5}, **test, **who),
        reading("membership_auc_loss", value=0.6, series={"two_sided": 0.1}, **who),
        reading("membership_tpr_loss", value=0.05, series={"0.01": 0.05, "0.5": 0.7, "1": 1.0}, **who),
    ]


def artefacts(classes: list[str]) -> dict[str, Any]:
    def count(n: int, method: int) -> dict[str, int]:
        return {"samples": n, "read_by_method": method, "read_by_audit": n, "decoded": n}

    return {
        "request.json": {
            "forget": classes[:1],
            "forget_ids": [0],
            "already_forgotten": classes[-1:],
            "classes": classes,
        },
        "config.json": {
            "kind": "forget",
            "model": "small-cnn",
            "weights": "/runs/original/model.safetensors",
            "data": "digits",
            "method": "unsir",
            "preset": "paper",
            "settings": {"retain_per_class": None, "noise": {"steps": 40, "lr": 0.1}},
            "needs": ["retain_train"],
            "seed": 5,
            "precision": "fp32",
            "shape": [1, 8, 8],
            "mean": [0.3],
            "std": [0.4],
            "notes": {},
        },
        "access.json": {
            "parts": {
                "retain_train": {name: count(136, 100) for name in classes[1:]},
                "forget_test": {classes[0]: count(36, 0)},
                "excluded_train": {},
            },
            "forget_samples_read": 0,
            "forget_samples_read_by_audit": 183,
            "forget_samples_decoded": 184,
        },
        "cost.json": {
            "stages": {"noise": {"seconds": 1.0, "samples_forward": 10240, "samples_backward": 10240}},
            "total": {"seconds": 3.28, "samples_forward": 38235, "samples_backward": 37920},
        },
        "history.json": {"noise": [3.8, 1.5, -0.7], "impair": [float(i % 7) for i in range(1000)]},
        "audit.json": audit_json(classes),
    }


def write_folder(folder: Path, classes: list[str] | None = None, **changed: dict[str, Any] | None) -> Path:
    """Write a run folder; keyword arguments replace artefacts (`audit={...}`) or leave them out (`audit=None`)."""
    content = artefacts(classes or ANIMALS)
    manifest = {
        "inputs": {"/runs/original/model.safetensors": DIGEST},
        "seed": 5,
        "device": "cpu",
        "command": ["unlearnkit", "forget", "--forget", "a b"],
    }
    for name, value in changed.items():
        if name == "manifest":
            manifest = value or {}
        elif value is None:
            del content[f"{name}.json"]
        else:
            content[f"{name}.json"] = value
    write_run(folder, content, overwrite=True, manifest=manifest)
    return folder


NO_POWER = Doubt("original_too_near")
JUDGED = (  # metric, part, unit, value after, band, verdict, gap
    ("accuracy", "retain_test", "fraction", 0.95, (0.94, 1.0), "pass", 0.25),
    ("accuracy", "forget_test", "fraction", 0.4, (1.2e-18, 0.01), "fail", 12.5),
    ("activation_distance", "forget_test", "distance", 0.2, (0.0, 0.5), "pass", 0.0),
    ("relearn_steps", None, "steps", 100.0, (50.0, 200.0), "pass", 0.5),
    ("class_membership_auc", None, "fraction", 0.75, None, "unknown", None),
    ("probe_recovery", "forget_test", "fraction", None, None, "unknown", None),
    ("depth_recovery", "forget_test", "log-odds", 0.5, (None, 1.5), "pass", 0.1),  # open below
)


def judged_audit() -> dict[str, Any]:
    """Audit with seven of the primary readings: four pass, one fails, two were not resolved, each for its reason."""
    readings = []
    for metric, part, unit, value, band, verdict, gap in JUDGED:
        reason = unknown("no_features") if value is None else Doubt("unresolved", {"reason": NO_POWER})
        doubts = [] if band else [asdict(reason)]
        judged = {"band": band, "verdict": verdict, "gap": gap, "doubts": doubts}
        readings.append(reading(metric, "unlearned", value, unit, part=part, **judged))
        readings += [
            reading(metric, "original", 0.9, unit, part=part),
            reading(metric, "retrained", 0.3, unit, part=part),
            reading(metric, "retrained", 0.5, unit, part=part, replicate=1),
        ]
    why = [asdict(Doubt("outside_band", {"readings": ["accuracy/forget_test"]}))]
    return {
        "schema": 3,
        "votes": VOTES,
        "readings": readings,
        "verdict": {"status": "fail", "why": why},
        "tier": "E3",
        "spent": {
            "outputs": {"seconds": 2.5, "samples_forward": 4321, "samples_backward": 0},
            "return": {"seconds": 130.0, "samples_forward": 6543, "samples_backward": 1234},
            "readings": {"seconds": 0.25, "samples_forward": 0, "samples_backward": 0},
        },
    }


def page(folder: Path, language: str, classes: list[str] | None = None, **changed: Any) -> str:
    """The page of a run folder whose artefacts are replaced (`audit={...}`) or left out (`audit=None`)."""
    content = artefacts(classes or ANIMALS) | {f"{name}.json": value for name, value in changed.items()}
    manifest = {"inputs": {"/runs/original/model.safetensors": "ab" * 32}, "seed": 5, "device": "cpu"}
    content = {name: value for name, value in content.items() if value is not None}
    shutil.rmtree(folder, ignore_errors=True)
    write_run(folder, content, overwrite=False, manifest=manifest)
    (folder / PICTURE).write_bytes(drawing.strip(torch.zeros(1, 1, 4, 4), 1.0))
    return render(folder, language)


def measured_audit() -> dict[str, Any]:
    """What newer audits have: histograms, relearning counted from 0, and stand-ins."""
    found = audit_json(ANIMALS)
    found["readings"] = [each for each in found["readings"] if each["metric"] not in ("loss", "output_entropy")]
    for model in ("original", "unlearned", "retrained"):
        for name in ("loss", "output_entropy"):
            series = {"0": 0.25, "1": 0.75, "2": 0.0}
            found["readings"].append(reading(name, model, 0.5, "nats", part="forget_test", series=series))
    for each in found["readings"]:
        if each["metric"] == "relearn_steps":
            each |= {"value": 1.0, "interval": [0.0, 1.0], "series": {"0": 0.5, "1": 0.9}}
    return found | {"stand_ins": "imagefolder:/elsewhere"}


def drawn() -> dict[str, Any]:
    """Every kind of picture."""
    at = {"file": PICTURE}
    models = ["original", "unlearned", "retrained"]
    rivals = dict.fromkeys(models, "dog")
    figures = {
        "noise": {"limit": 2.0, "classes": 3, "pictures": [at | {"label": "cat"}]},
        "embedding": {
            "forgotten": 20,
            "retained": 60,
            "pictures": [at | {"model": model, "explained": [0.5, 0.25]} for model in models],
        },
        "attention": {
            "layer": "body",
            "models": models,
            "pictures": [
                at | {"label": "cat", "forgotten": True, "rivals": rivals},
                at | {"label": "dog", "forgotten": False, "rivals": {}},
            ],
        },
    }
    return {"personal": False, "include_images": True, "figures": figures}
