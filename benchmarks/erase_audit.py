"""Judges `erase` by the audit's votes on a reference network: three retrained models, the bank or prior, several seeds.

    python benchmarks/erase_audit.py --data DIR --network small [--seeds 3] [--images 4000] [--set level=1 ...]

`--data` is a folder with CIFAR-10's train.parquet and test.parquet; class 0 is forgotten by a network of
benchmarks/references, so that nothing need be trained. Prints each vote with its band and writes
benchmarks/results/erase-audit-NETWORK.json. An architecture without a bank is judged by the prior over settings.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from erase import NETWORKS, load_models
from unlearnkit import ForgetRequest, Runtime
from unlearnkit.audit import METRICS, Evidence, audit, gather
from unlearnkit.audit.bank import bank_for, priors_for
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS
from unlearnkit.methods import Erase, unlearn
from unlearnkit.run_dir import versions
from unlearnkit.split import split_for
from unlearnkit.steps.opening import load_images

ARCHITECTURES = {"small": "airbench,width=16", "small-residual": "small_residual:SmallResidual", "airbench": "airbench"}
VOTING = {name: METRICS[name] for name in PRIMARY_METRICS}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    arguments = parser.parse_args()
    data, runtime = load_images(f"parquet:{arguments.data}", None), Runtime.named("cpu")
    request = ForgetRequest(classes=(data.classes[0],))
    models, _ = load_models(arguments.network, 3)
    original = models.pop("original")
    bank = bank_for(data.source, data.classes, ARCHITECTURES[arguments.network], data.classes[:1])
    known: Evidence | None = None
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        method = Erase().with_settings(arguments.settings)
        erased = unlearn(original, method, data, request, seed=seed, runtime=runtime).model
        evidence = gather(
            {"original": original, "retrained": list(models.values()), "unlearned": erased},
            data,
            split_for(request, data),
            metrics=VOTING.values(),
            seed=0,
            runtime=runtime,
            images=arguments.images,
            earlier=known,
        )
        known = replace(evidence, subjects=tuple(s for s in evidence.subjects if s.name != "unlearned"))
        judged = audit(evidence, VOTING, priors=priors_for(bank))
        votes = [r for r in judged.readings if r.model == "unlearned" and r.verdict is not None]
        print(
            f"seed {seed}: {judged.verdict.status}, worst gap {judged.verdict.worst_gap:.2f} ({judged.verdict.worst})"
        )
        for each in votes:
            print(f"  {each.metric:24} {each.value} in {each.band}: {each.verdict}", flush=True)
        found = {f"{r.metric}/{r.part}": {k: getattr(r, k) for k in ("value", "band", "verdict", "gap")} for r in votes}
        rows.append({"seed": seed, "verdict": asdict(judged.verdict), "votes": found})
    result = {
        "benchmark": f"erase-audit-{arguments.network}",
        "settings": arguments.settings,
        "images": arguments.images,
        "bank": None if bank is None else bank.name,
        "rows": rows,
        "versions": versions(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"erase-audit-{arguments.network}.json").write_text(json.dumps(result, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
