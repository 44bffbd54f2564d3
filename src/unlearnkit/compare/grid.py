"""Every method beside retraining: tuned under one equal budget, audited in full, as a table and a picture.

    python benchmarks/compare_methods.py --data SOURCE --models DIR --work DIR --forget ID... [--seeds 3] [--trials 12]
        [--variants default tuned paper] [--only METHOD...] [--set NAME=VALUE] [--primary]
        [--retrained 3] [--label NAME] [--out FILE]
    python benchmarks/compare_methods.py --redraw [--out FILE]

`--models` holds run folders `original`, `retrained-0`, `retrained-1` and so on, made by `make_bank.py` or by
`unlearnkit train`; `--retrained` says how many of them there are to judge by.
Tuning is `unlearnkit.tuning.tune` with the same number of trials for every method: retained validation data and, for
methods that read no forgotten sample, images made from retained ones; never test data. Every search and every run is
one JSON file in --work, so an interrupted comparison goes on where it stopped. A run is made anew when its settings,
its seed, the request, the data, the original or the version change, and audited anew when the retrained models, the
bank or the metrics do. After changes of a method's code start with an empty folder; after changes of the audit's code
take the runs' JSON files away (not `tune-*.json`): the unlearned weights in the folders beside them are audited again.
A method that cannot run is a row with the reason. Writes --out, and a Markdown table and an SVG picture beside it,
after every run.

`--set` is for every method that has the setting: `retain_per_class=1000` and `fisher.samples=5000` make large data
affordable; `--variants paper` stays as published. `--primary` leaves out what of the audit does not vote: the same
eight readings of the same samples, so the same verdict, in about half the time.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unlearnkit import UNSIR
from unlearnkit.audit import METRICS
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS
from unlearnkit.compare.page import picture, table
from unlearnkit.compare.runs import Bench, written
from unlearnkit.errors import ConfigError
from unlearnkit.methods import ConfiguredMethod, Retrain
from unlearnkit.methods.registry import METHODS
from unlearnkit.run_dir import read_json, versions
from unlearnkit.split import Part

NO_NOISE = "unsir-no-noise"


def candidates(recipe: Mapping[str, Any], settings: Sequence[str] = ()) -> dict[str, ConfiguredMethod]:
    """Every method with its default settings; Retrain by the recipe of the retrained models.

    Args:
        recipe: of the retrained models.
        settings: `NAME=VALUE`, for the methods that have a setting of this name.

    Raises:
        ConfigError: no method has the setting, or a value is refused.
    """
    methods: dict[str, ConfiguredMethod] = {}
    for name, kind in METHODS.items():
        methods[name] = kind()
        if name == "unsir":
            methods[NO_NOISE] = UNSIR(noise=None)
    methods["retrain"] = Retrain(**{key: recipe[key] for key in ("epochs", "batch_size", "lr")})
    for setting in settings:
        key = setting.partition("=")[0]
        having = {name for name, method in methods.items() if name != "retrain" and key in method.setting_names()}
        if not having:
            raise ConfigError(
                f"Expected the name of a setting of some method, but none has {key!r}; see docs/methods.md."
            )
        methods |= {name: methods[name].with_settings([setting]) for name in having}
    return methods


def searched(method: ConfiguredMethod) -> ConfiguredMethod:
    """The method as its tuning starts: UNSIR's own search of the rates would read the judge's validation samples."""
    return method.with_settings(method.for_tuning())


def apart(trained: Sequence[int], runs: int) -> None:
    """Refuse retrained models whose seeds the runs have too: Retrain would make them again and be held against itself.

    Raises:
        ConfigError: a seed is one of the runs'.
    """
    shared = sorted(set(trained) & set(range(runs)))
    if shared:
        raise ConfigError(
            f"Expected retrained models of other seeds than the runs have (0 to {runs - 1}), but got seed {shared[0]}: "
            "retrain would be held against itself; train them with seeds from 1000 on."
        )


def draw(out: Path, result: dict[str, Any]) -> None:
    """Write the table and the picture beside the results."""
    written(out.with_suffix(".md"), table(result) + "\n")
    written(out.with_suffix(".svg"), picture(result) + "\n")


def compare(bench: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    """Tune, run and audit every method; the results so far are written after every seed of a method."""
    out: Path = arguments.out
    trained = [checkpoint.path.parent for checkpoint in bench.checkpoints[1:]]
    costs = [read_json(folder, "cost.json", "total")["total"] for folder in trained]
    methods = candidates(read_json(trained[0], "config.json", "recipe")["recipe"], arguments.settings)
    if "retrain" in (arguments.only or methods):
        apart([read_json(folder, "config.json", "seed")["seed"] for folder in trained], arguments.seeds)
    result: dict[str, Any] = {
        "benchmark": "compare_methods",
        "data": arguments.label or bench.case.spec.data.partition(":")[0],
        "model": bench.case.architecture,
        "bank": bench.bank.name if bench.bank else None,
        "forget": list(bench.case.split.request.forget_names),
        "forget_samples": len(bench.case.split[Part.FORGET_TRAIN]),
        "seeds": arguments.seeds,
        "trials": arguments.trials,
        "settings": arguments.settings,
        "hardware": {
            "device": str(bench.runtime.device),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "versions": versions(),
        "retraining": [
            {key: cost[key] for key in ("seconds", "samples_forward", "samples_backward")} for cost in costs
        ],
        "tuning": {},
        "rows": [],
    }
    for seed in range(arguments.seeds):
        for name in arguments.only or methods:
            for variant in arguments.variants:
                made = one(
                    bench, name, methods[name], variant, seed, arguments.trials, result["tuning"], arguments.settings
                )
                if made is not None:
                    result["rows"].append(made)
                    written(out, result)
                    draw(out, result)
    return result


def one(
    bench: Bench,
    name: str,
    method: ConfiguredMethod,
    variant: str,
    seed: int,
    trials: int,
    tuning: dict[str, Any],
    settings: Sequence[str],
) -> dict[str, Any] | None:
    """One row, or None where the method has no such variant."""
    common = {"method": name, "variant": variant, "seed": seed, "control": method.control}
    if variant == "paper":
        paper = method.presets().get("paper")
        if paper is None or name == NO_NOISE:
            return None
        method = paper()
    if variant == "tuned":
        if not method.space():
            return None
        method = searched(method)
        fixed = [key for setting in settings if (key := setting.partition("=")[0]) in method.setting_names()]
        found = tuning[name] = bench.tuned(name, method, trials, fixed)
        if found["failure"]:
            return common | {"needs": sorted(method.needs), "failure": found["failure"]}
        method = method.with_settings(found["chosen"])
    return common | {"needs": sorted(method.needs)} | bench.run(name, method, seed)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="data source, as of `unlearnkit train`")
    parser.add_argument("--label", help="what to call the data; default: the kind of source")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--forget", nargs="+")
    parser.add_argument("--retrained", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--variants", nargs="+", choices=("default", "tuned", "paper"), default=["default", "tuned"])
    parser.add_argument("--only", nargs="+", choices=[*METHODS, NO_NOISE])
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--primary", action="store_true", help="audit by the eight primary readings alone")
    parser.add_argument("--redraw", action="store_true", help="draw table and picture from --out; nothing is run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "compare_methods.json")
    arguments = parser.parse_args(argv)
    if arguments.redraw:
        result = json.loads(arguments.out.read_text(encoding="utf-8"))
        draw(arguments.out, result)
    else:
        missing = [f"--{key}" for key in ("data", "models", "work", "forget") if getattr(arguments, key) is None]
        if missing:
            parser.error(f"Expected {', '.join(missing)}, or --redraw to draw what --out holds.")
        if arguments.retrained < 3:
            parser.error(f"Expected three retrained models or more, but got --retrained {arguments.retrained}.")
        metrics = {name: METRICS[name] for name in PRIMARY_METRICS} if arguments.primary else METRICS
        bench = Bench.opened(
            arguments.data, arguments.models, arguments.work, arguments.forget, metrics, arguments.retrained
        )
        result = compare(bench, arguments)
    print(table(result))


if __name__ == "__main__":
    main()
