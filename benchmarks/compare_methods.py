"""Runs every method beside retraining, tuned under one equal budget, and puts all under the same audit, in one process.

    python benchmarks/compare_methods.py --data SOURCE --models DIR --work DIR --forget ID --out FILE.json
    python benchmarks/compare_methods.py --redraw --out FILE.json

`unlearnkit compare` runs suites, with a run folder for every cell; this keeps the evidence on one original in memory
and is what the tables of docs/comparison.md and `gpu.py` are made with.

`models` holds run folders `original`, `retrained-0`, `retrained-1` and so on, made by `benchmarks/make_bank.py` or by
`unlearnkit train`. Tuning is `unlearnkit.tuning.tune` with the same number of trials for every method: retained
validation data and, for methods that read no forgotten sample, images made from retained ones; never test data. Every
search and every run is one JSON file in `work`, so an interrupted comparison goes on where it stopped. A run is made
anew when its settings, its seed, the request, the data, the original or the version change, and audited anew when the
retrained models, the bank or the metrics do. After changes of a method's code start with an empty folder; after changes
of the audit's code take the runs' JSON files away (not `tune-*.json`): the unlearned weights in the folders beside them
are audited again. A method that cannot run is a row with the reason.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from comparison_runs import Bench, written
from unlearnkit import UNSIR
from unlearnkit.audit import METRICS
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS
from unlearnkit.compare.method_table import table
from unlearnkit.compare.picture import picture
from unlearnkit.disk.files import read_regular
from unlearnkit.disk.json_text import parse_json
from unlearnkit.disk.staging import sweep
from unlearnkit.errors import ConfigError
from unlearnkit.methods import ConfiguredMethod, Retrain
from unlearnkit.methods.registry import METHODS
from unlearnkit.run_dir import read_json, versions
from unlearnkit.runtime.terminal import print_lines
from unlearnkit.split import Part

VARIANTS = ("default", "tuned", "paper")
NO_NOISE = "unsir-no-noise"
FEWEST_RETRAINED = 3  # fewer say nothing about how far retrained models differ


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The runs of a comparison: each method in each variant, with each seed.

    Args:
        methods: names of methods, and `unsir-no-noise`; none: all.
        variants: `default` settings, `tuned` ones, those of the `paper`.
        seeds: number of seeds, from 0.
        trials: of each method's tuning.
        settings: `NAME=VALUE`, for every method that has the setting.
        primary: audit by the readings that vote alone: the same verdict in about half the time.
        label: what to call the data; default: the kind of source.

    Raises:
        ConfigError: a method or a variant is unknown, or a number is below 1.
    """

    methods: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("default", "tuned")
    seeds: int = 3
    trials: int = 12
    settings: tuple[str, ...] = ()
    primary: bool = False
    label: str | None = None

    def __post_init__(self) -> None:
        known = {*METHODS, NO_NOISE}
        for name in self.methods:
            if name not in known:
                raise ConfigError(
                    f"Expected one of the methods {', '.join(sorted(known))}, but got {name!r}; choose one of them."
                )
        for name in self.variants:
            if name not in VARIANTS:
                raise ConfigError(f"Expected one of the variants {', '.join(VARIANTS)}, but got {name!r}; choose one.")
        for name, value in (("seeds", self.seeds), ("trials", self.trials)):
            if value < 1:
                raise ConfigError(
                    f"Expected a number of {name} of at least 1, but got {value}; give --{name} 1 or more."
                )


def candidates(recipe: Mapping[str, Any], settings: Sequence[str] = ()) -> dict[str, ConfiguredMethod]:
    """Return every method with its default settings; Retrain has the recipe of the retrained models.

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
    """Return the method that a search starts from.

    UNSIR's own search of the rates is off in it, as that would read the validation samples of the judge.
    """
    return method.with_settings(method.for_tuning())


def apart(trained: Sequence[int], runs: int) -> None:
    """Refuse runs whose seeds some retrained model has: Retrain would produce that model and be compared with itself.

    Raises:
        ConfigError: a seed is one of the runs'.
    """
    shared = sorted(set(trained) & set(range(runs)))
    if shared:
        raise ConfigError(
            f"Expected retrained models of other seeds than the runs have (0 to {runs - 1}), but got seed {shared[0]}: "
            "Retrain would be compared with itself; train them with seeds from 1000 on."
        )


def draw(out: Path, result: dict[str, Any]) -> None:
    """Write the table and the picture to files beside the results."""
    written(out.with_suffix(".md"), table(result) + "\n")
    written(out.with_suffix(".svg"), picture(result) + "\n")


def described(
    bench: Bench, seeds: int, trials: int, settings: Sequence[str], label: str | None = None
) -> dict[str, Any]:
    """Return the content of a comparison's results without any rows; see the command's options."""
    trained = [checkpoint.path.parent for checkpoint in bench.checkpoints[1:]]
    costs = [read_json(folder, "cost.json", "total")["total"] for folder in trained]
    return {
        "benchmark": "compare_methods",
        "data": label or bench.case.spec.data.partition(":")[0],
        "model": bench.case.architecture,
        "bank": bench.bank.name if bench.bank else None,
        "forget": list(bench.case.split.request.forget_names),
        "forget_samples": len(bench.case.split[Part.FORGET_TRAIN]),
        "seeds": seeds,
        "trials": trials,
        "settings": list(settings),
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


def redraw(results: Path) -> dict[str, Any]:
    """Draw table and picture from finished results, without any run.

    Raises:
        ConfigError: the file is not there or holds no results of a comparison.
    """
    try:
        result: dict[str, Any] = parse_json(read_regular(results))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Expected results of a comparison at {results}, but they cannot be read ({error}); run this "
            "without --redraw first."
        ) from error
    if result.get("benchmark") != "compare_methods":
        raise ConfigError(
            f"Expected results of a comparison at {results}, but the file holds something else; name the file that "
            "--out wrote."
        )
    draw(results, result)
    return result


def compare_methods(
    grid: Grid, *, data: str, models: Path, work: Path, forget: Sequence[str], retrained: int, out: Path
) -> dict[str, Any]:
    """Tune, run and audit every method on the opened models and data; write the results after every run.

    Args:
        grid: what is compared.
        data: data source, as of `unlearnkit train`.
        models: folder with the run folders of the original and the retrained models.
        work: where finished runs are kept.
        forget: classes to forget.
        retrained: how many retrained models to judge by, three at least.
        out: JSON file to write; a Markdown table and an SVG picture go beside it.

    Raises:
        InputError: something given cannot be used.
    """
    if retrained < FEWEST_RETRAINED:
        raise ConfigError(f"Expected three retrained models or more, but got --retrained {retrained}; train some more.")
    for folder in (work, out.absolute().parent):
        sweep(folder)
    metrics = {name: METRICS[name] for name in PRIMARY_METRICS} if grid.primary else METRICS
    bench = Bench.opened(data, models, work, [*forget], metrics, retrained)
    trained = [checkpoint.path.parent for checkpoint in bench.checkpoints[1:]]
    methods = candidates(read_json(trained[0], "config.json", "recipe")["recipe"], grid.settings)
    if "retrain" in (grid.methods or methods):
        apart([read_json(folder, "config.json", "seed")["seed"] for folder in trained], grid.seeds)
    result = described(bench, grid.seeds, grid.trials, grid.settings, grid.label)
    for seed in range(grid.seeds):
        for name in grid.methods or methods:
            for variant in grid.variants:
                row = one(bench, name, methods[name], variant, seed, grid.trials, result["tuning"], grid.settings)
                if row is not None:
                    result["rows"].append(row)
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
    """Run one variant of one method, and return its row; None where the method has no such variant."""
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


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write; table and picture go beside it")
    parser.add_argument("--data", help="data source")
    parser.add_argument("--models", type=Path, help="folder with the run folders original, retrained-0, ...")
    parser.add_argument("--work", type=Path, help="folder where finished runs are kept")
    parser.add_argument("--forget", action="append", default=[], help="class to forget; repeatable")
    parser.add_argument("--method", action="append", default=[], help="method, or unsir-no-noise; repeatable")
    parser.add_argument("--variant", action="append", default=[], help="default, tuned or paper; repeatable")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE, for every method that has it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12, help="trials of each method's tuning")
    parser.add_argument("--retrained", type=int, default=3, help="retrained models to judge by, three at least")
    parser.add_argument("--primary", action="store_true", help="audit by the readings that vote alone")
    parser.add_argument("--label", help="what to call the data; default: kind of source")
    parser.add_argument("--redraw", action="store_true", help="draw table and picture from --out; nothing is run")
    asked = parser.parse_args(argv)
    if asked.redraw:
        print_lines(table(redraw(asked.out)))
        return
    missing = [f"--{name}" for name in ("data", "models", "work", "forget") if not getattr(asked, name)]
    if missing:
        raise ConfigError(f"Expected {', '.join(missing)}, or --redraw to draw what --out holds; add what is missing.")
    grid = Grid(
        methods=tuple(asked.method),
        variants=tuple(asked.variant or ("default", "tuned")),
        seeds=asked.seeds,
        trials=asked.trials,
        settings=tuple(asked.set),
        primary=asked.primary,
        label=asked.label,
    )
    result = compare_methods(
        grid,
        data=asked.data,
        models=asked.models,
        work=asked.work,
        forget=asked.forget,
        retrained=asked.retrained,
        out=asked.out,
    )
    print_lines(table(result))


if __name__ == "__main__":
    main()
