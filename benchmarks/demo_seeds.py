"""Runs the demo with several seeds: the verdict, the reading nearest to its band's end, and the cost beside retraining.

    python benchmarks/demo_seeds.py --work DIR [--seed 0 ...] [--method unsir ...] [--name NAME]

`--work` gets a demo's folder for every seed; one that is there already is not run again. Each `--method` forgets the
same digits once more in the same models, beside the demo's own. A seed trains its own original and its own three
retrained models. Ratios are to the cheapest of these three, in samples (forward and backward) and in CPU seconds of one
thread; the audit is no part of them. Writes benchmarks/results/demo-seeds.json after every run.
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
    parser.add_argument("--seed", dest="seeds", type=int, action="append", default=[])
    parser.add_argument("--method", dest="methods", action="append", default=[], help="forget by this method too")
    parser.add_argument("--name", default="demo-seeds", help="of the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"benchmark": arguments.name, "versions": versions(), "rows": []}
    with mock.patch.object(runlog, "time", CPU_CLOCK):
        for row in rows(arguments.work, arguments.seeds or [0, 1, 2, 3, 4], arguments.methods):
            result["rows"].append(row)
            print(json.dumps(row), flush=True)
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{arguments.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print("\n" + "\n".join(markdown(result["rows"])))


def rows(work: Path, seeds: Sequence[int], methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run the demo with each seed and the other methods on its models, and yield what became of each."""
    for seed in seeds:
        out = work / f"seed-{seed}"
        if not (out / "unlearned" / "audit.json").exists():
            demo_run(Output(out, overwrite=True), seed=seed)
        yield row(out, out / "unlearned", METHOD, seed)
        for name in methods:
            folder = out / f"unlearned-{name}"
            if not (folder / "audit.json").exists():
                forget_run(
                    CaseSpec(weights=out / "original" / WEIGHTS, data="digits", forget=FORGOTTEN),
                    MethodChoice(name),
                    Output(folder, overwrite=True),
                    audit=AuditOptions(retrained=[path / WEIGHTS for path in retrained(out)]),
                    seed=seed,
                )
            yield row(out, folder, name, seed)


def row(out: Path, folder: Path, method: str, seed: int) -> dict[str, Any]:
    """Read verdict, votes and costs from the run folders."""
    written, spent = _read(folder / "audit.json"), _read(folder / "cost.json")["total"]
    costs = [_read(path / "cost.json")["total"] for path in retrained(out)]
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
        "attempts": len(_read(folder / "config.json")["notes"].get("search", {}).get("attempts", [])),
        "votes": {f"{r['metric']}/{r['part']}": [r["value"], r["band"], r["verdict"]] for r in votes},
    }


def retrained(out: Path) -> list[Path]:
    """Return the folders of the demo's retrained models."""
    return [out / f"retrained-{i + 1}" for i in range(RETRAINED)]


def markdown(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table, a run a row; readings outside their bands are in brackets."""
    lines = [
        "| method | seed | verdict | worst gap | samples | seconds | attempts | " + " | ".join(SHOWN.values()) + " |",
        "| --- " * (7 + len(SHOWN)) + "|",
    ]
    for one in found:
        votes = [one["votes"][key] for key in SHOWN]
        cells = [
            f"`{one['method']}`",
            str(one["seed"]),
            one["verdict"],
            f"{one['worst_gap']:.2f} ({one['worst']})",
            f"{one['samples']:,}, {one['samples_share']:.2f}",
            f"{one['seconds']:.2f}, {one['seconds_share']:.2f}",
            str(one["attempts"]),
            *(f"({value:.2f})" if verdict == "fail" else f"{value:.2f}" for value, _, verdict in votes),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _samples(cost: Mapping[str, int]) -> int:
    return cost["samples_forward"] + cost["samples_backward"]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
