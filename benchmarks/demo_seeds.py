"""Runs the demo with several seeds: the verdict, the reading nearest to its band's end, and the cost beside retraining.

    python benchmarks/demo_seeds.py --work DIR [--seeds 10] [--method unsir ...] [--control]

`--work` gets a demo's folder for every seed; one that is there already is not run again. A seed trains its own original
and its own three retrained models. Each `--method` forgets the same digits once more in the same models. `--control`
has the audit judge a model that really was retrained, one from the demo half the seeds further on, as if it were
unlearned: how often that fails says how far a fail can be trusted. Ratios are to the cheapest of the three retrained
models, in samples (forward and backward) and in CPU seconds of one thread; the audit is no part of them. Writes
benchmarks/results/demo-seeds.json after every run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from unlearnkit.methods.choice import MethodChoice
from unlearnkit.run_dir import WEIGHTS, versions
from unlearnkit.runtime import runlog
from unlearnkit.steps.audit import audit_pair
from unlearnkit.steps.auditing import AuditOptions
from unlearnkit.steps.demo import FORGOTTEN, METHOD, RETRAINED, demo_run
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import CaseSpec

RESULTS = Path(__file__).parent / "results"
CPU_CLOCK = SimpleNamespace(perf_counter=time.process_time)  # other programs do not lengthen it
SHOWN = {
    "accuracy/retain_test": "retained accuracy",
    "prediction_tv/forget_test": "tv",
    "activation_distance/forget_test": "act",
    "probe_recovery/forget_test": "probe",
    "prototype_recovery/forget_test": "class means",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--method", dest="methods", action="append", default=[], help="forget by this method too")
    parser.add_argument("--control", action="store_true", help="judge retrained models as if they were unlearned")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.control and arguments.seeds < 2 * (RETRAINED + 1):
        parser.error("--control needs at least 8 seeds, or the model that it judges is one of those it is held against")
    result: dict[str, Any] = {"benchmark": "demo-seeds", "versions": versions(), "rows": []}
    with mock.patch.object(runlog, "time", CPU_CLOCK):
        for found in rows(arguments.work, arguments.seeds, arguments.methods, control=arguments.control):
            result["rows"].append(found)
            print(json.dumps(found), flush=True)
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / "demo-seeds.json").write_text(json.dumps(result, indent=1) + "\n")
    print("\n" + "\n".join(markdown(result["rows"])))


def rows(work: Path, seeds: int, methods: Sequence[str], *, control: bool) -> Iterator[dict[str, Any]]:
    """Run the demo with each seed, what else is asked on its models, and yield what became of each."""
    demos = [work / f"seed-{seed}" for seed in range(seeds)]
    for seed, out in enumerate(demos):
        if not _audited(out / "unlearned"):
            demo_run(Output(out, overwrite=True), seed=seed)
        yield row(out, out / "unlearned", METHOD, seed)
        for name in methods:
            folder = out / f"unlearned-{name}"
            if not _audited(folder):
                output = Output(folder, overwrite=True)
                forget_run(case(out), MethodChoice(name), output, audit=references(out), seed=seed)
            yield row(out, folder, name, seed)
    for seed, out in enumerate(demos if control else []):
        folder, judged = out / "control", retrained(demos[(seed + seeds // 2) % seeds])[0]
        if not _audited(folder):
            audit_pair(case(out), judged / WEIGHTS, Output(folder, overwrite=True), options=references(out), seed=seed)
        yield row(out, folder, "(retrained)", seed, made=judged)


def case(out: Path) -> CaseSpec:
    """Return the demo's request."""
    return CaseSpec(weights=out / "original" / WEIGHTS, data="digits", forget=FORGOTTEN)


def references(out: Path) -> AuditOptions:
    """Return the demo's audit."""
    return AuditOptions(retrained=[path / WEIGHTS for path in retrained(out)])


def row(out: Path, folder: Path, method: str, seed: int, *, made: Path | None = None) -> dict[str, Any]:
    """Read verdict and votes from the audit's folder, and the cost from the folder where the model was made."""
    written, spent = _read(folder / "audit.json"), _cost(made or folder)
    costs = [_cost(path) for path in retrained(out)]
    votes = [r for r in written["readings"] if r["model"] == "unlearned" and r["verdict"] is not None]
    return {
        "seed": seed,
        "method": method,
        "verdict": written["verdict"]["status"],
        "worst": written["verdict"]["worst"],
        "worst_gap": written["verdict"]["worst_gap"],
        "samples": _samples(spent),
        "samples_share": _samples(spent) / min(_samples(cost) for cost in costs),
        "seconds": spent["seconds"],
        "seconds_share": spent["seconds"] / min(cost["seconds"] for cost in costs),
        "votes": {f"{r['metric']}/{r['part']}": [r["value"], r["band"], r["verdict"]] for r in votes},
    }


def retrained(out: Path) -> list[Path]:
    """Return the folders of the demo's retrained models."""
    return [out / f"retrained-{i + 1}" for i in range(RETRAINED)]


def markdown(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table, a run a row; readings outside their bands are in brackets."""
    lines = [
        "| method | seed | verdict | worst gap | samples | seconds | " + " | ".join(SHOWN.values()) + " |",
        "| --- " * (6 + len(SHOWN)) + "|",
    ]
    for one in found:
        votes = [one["votes"][key] for key in SHOWN]
        cells = [
            one["method"],
            str(one["seed"]),
            one["verdict"],
            f"{one['worst_gap']:.2f} ({one['worst']})",
            f"{one['samples']:,}, {one['samples_share']:.2f}",
            f"{one['seconds']:.2f}, {one['seconds_share']:.2f}",
            *(f"({value:.2f})" if verdict == "fail" else f"{value:.2f}" for value, _, verdict in votes),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _audited(folder: Path) -> bool:
    return (folder / "audit.json").exists()


def _cost(folder: Path) -> dict[str, Any]:
    total: dict[str, Any] = _read(folder / "cost.json")["total"]
    return total


def _samples(cost: Mapping[str, Any]) -> int:
    return int(cost["samples_forward"] + cost["samples_backward"])


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
