"""Makes the smallest suites, and results of suites that nobody ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.compare.comparison import Comparison
from unlearnkit.compare.hand_out import Workers
from unlearnkit.compare.suite import Suite, read_suite, suite_from
from unlearnkit.compare.work import Place

TINY: dict[str, Any] = {
    "title": "tiny",
    "audit": "quick",
    "settings": [
        {"data": "digits", "model": "small-cnn,width=4", "recipe": ["epochs=1"], "requests": [{"forget": ["3"]}]}
    ],
    "methods": [{"name": "original"}, {"name": "ssd", "preset": "paper"}],
}


FULL = read_suite("cifar10")[1]  # that reported rows are of
ARTICLE = FULL.settings[0]


def tiny(**changed: Any) -> Suite:
    return suite_from(TINY | changed)


def comparison(suite: Suite, folder: Path, lines: list[str], **more: Any) -> Comparison:
    """A comparison in a folder, its bank beside it, on this machine's CPU."""
    place = Place(out=folder / "out", bank=folder / "bank", device="cpu", **more.pop("place", {}))
    workers = more.pop("workers", Workers())
    return Comparison(name="tiny", suite=suite, place=place, workers=workers, say=more.pop("say", lines.append))


def made_row(method: str, gap: float, *, seed: str = "0/0", **more: Any) -> dict[str, Any]:
    """A finished row as `results.collected` gives it."""
    primary = {
        each.key: {
            "family": each.family,
            "value": 0.5,
            "original": 0.6,
            "status": "pass" if gap <= 1 else "fail",
            "gap": gap,
            "retrained": [0.4, 0.5, 0.6],
        }
        for each in PRIMARY
    }
    row = {
        "cell": f"{method}-0123456789ab",
        "run": f"cells/{method}-0123456789ab",
        "method": method,
        "variant": "default",
        "training_seed": 0,
        "seed": seed,
        "control": False,
        "needs": [],
        "failure": None,
        "verdict": {
            "status": "pass" if gap <= 1 else "fail",
            "worst_gap": gap,
            "worst": "probe_recovery/forget_test",
            "families_passed": ["accuracy"],
        },
        "primary": primary,
        "shown": {"weight_distance": {"value": 10.0, "original": None, "retrained": [9.0, 10.0, 11.0], "doubts": {}}},
        "cost": {"seconds": 2.0, "samples_forward": 50, "samples_backward": 50},
        "forget_samples_read": 0,
    }
    return row | more


def made_group(rows: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    """A setting and a request with their rows."""
    group: dict[str, Any] = {
        "data": "parquet:{data}/cifar10",
        "model": "resnet18-cifar",
        "recipe": list(ARTICLE.recipe),
        "pretrained": False,
        "image_size": None,
        "samples": None,
        "label_column": None,
        "forget": ["0"],
        "after": [],
        "seeds": 1,
        "trials": 0,
        "tuning": {},
        "retraining": [{"seconds": 400.0, "samples_forward": 500, "samples_backward": 500}],
        "rows": rows,
    }
    return group | changed


def made_results(*groups: dict[str, Any], **suite: Any) -> dict[str, Any]:
    """Results of a suite."""
    recorded = FULL.model_dump(mode="json", include={"settings", "methods"})
    facts = {"title": "tiny", "note": "", "metrics": [], "retrained": 3} | recorded | suite
    return {"benchmark": "suite", "name": "tiny", "suite": facts, "groups": list(groups)}
