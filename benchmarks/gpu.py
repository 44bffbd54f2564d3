"""Everything about the toolkit that only a GPU shows: networks trained in full, and all methods audited on them.

    python benchmarks/gpu.py --data DIR --work DIR --out DIR [--budget SECONDS] [--only STEP ...] [--list] [--smoke]

`--data` is a folder with CIFAR-10's train.parquet and test.parquet; class 0 is forgotten. The steps go in order of
worth, in units of one training, or one method with its audit. A unit that is done is not done again, so the same
command goes on where it stopped; a unit that failed is tried again. `--work` keeps models, unlearned weights and
gpu.json. `--out` receives gpu.json, rewritten after every unit; methods.md and methods.svg, as `unlearnkit compare`
draws them; and the weights of the small networks (float32) and of four fast ones (float16), each file below 16 MiB.

With `--budget`, a unit is left out where less time remains than similar ones have taken; what was left out is said in
the last line. `--smoke` goes through all steps in a minute without a GPU: digits for images, tiny networks.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

import unlearnkit.audit.observe.relearning as relearning_module
from fast_network import Averaged
from make_bank import bank
from unlearnkit import ForgetRequest, Runtime
from unlearnkit.audit import METRICS, Metric
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS
from unlearnkit.compare.grid import candidates, described, draw, one
from unlearnkit.compare.runs import Bench, written
from unlearnkit.data import AccessLog, DataView, ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.sources.decode import ImageOptions
from unlearnkit.data.sources.registry import SOURCES
from unlearnkit.data.sources.source import Source
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json, versions
from unlearnkit.split import Part, split_for
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.training.predict import predict

STEPS = ("small", "small-residual", "airbench", "methods", "resnet18", "airbench-bank", "seeds")
FORGET, FIRST_SEED, BANK_MODELS = ("0",), 1000, 9
FILE_BYTES = int(15.5 * 2**20)  # of a file of weights, at most
METHODS = (
    *(
        "unsir",
        "unsir-no-noise",
        "erase",
        "original",
        "neggrad+",
        "finetune",
        "delete",
        "boundary-shrink",
        "ssd",
        "scrub",
    ),
    *("salun", "bad-teacher", "random-label", "l1-sparse", "neggrad", "fisher", "head-mask"),
)
RESNET = ("epochs=30", "batch_size=512", "lr=0.4", "weight_decay=0.0005", "label_smoothing=0.1", "schedule=one_cycle")


@dataclass(frozen=True, kw_only=True)
class Network:
    """An architecture, changes of its recipe, and how many models are retrained."""

    model: str
    recipe: tuple[str, ...] = ()
    retrained: int = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run: networks by step, methods on the fast network and on ResNet18, and the metrics of the audits."""

    networks: Mapping[str, Network]
    methods: tuple[str, ...] = METHODS
    few: tuple[str, ...] = ("unsir", "unsir-no-noise", "finetune", "neggrad+", "ssd")
    metrics: Mapping[str, Metric]
    changes: tuple[str, ...] = ("fisher.samples=5000",)
    seeds: tuple[int, ...] = (1, 2)


FULL = Plan(
    networks={
        "small": Network(model="airbench,width=16", recipe=("epochs=6",), retrained=9),
        "small-residual": Network(model="small_residual:SmallResidual", recipe=("epochs=6",), retrained=9),
        "airbench": Network(model="airbench"),
        "resnet18": Network(model="resnet18-cifar", recipe=RESNET),
    },
    metrics=METRICS,
)
SMOKE = Plan(
    networks={
        "small": Network(model="airbench,width=2", recipe=("epochs=1", "batch_size=100"), retrained=2),
        "small-residual": Network(
            model="small_residual:SmallResidual", recipe=("epochs=1", "batch_size=100"), retrained=1
        ),
        "airbench": Network(model="airbench,width=4", recipe=("epochs=1", "batch_size=50")),
        "resnet18": Network(model="airbench,width=3", recipe=("epochs=1", "batch_size=50")),
    },
    methods=("original", "finetune"),
    few=("original",),
    metrics={name: METRICS[name] for name in PRIMARY_METRICS},
    changes=("retain_per_class=5",),
    seeds=(1,),
)


class Book:
    """What was done, kept in a file after every unit; does what is new, and leaves out what there is no time for."""

    def __init__(self, work: Path, out: Path, budget: float | None, *, smoke: bool) -> None:
        self.began, self.budget, self.work, self.out = time.perf_counter(), budget, work, out
        self.left_out: list[str] = []
        kept = work / "gpu.json"
        self.content: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {"steps": {}}
        if self.content.get("smoke", smoke) != smoke:
            raise SystemExit(f"Expected a --work of its own for --smoke, but {work} holds another run.")
        facts = {"benchmark": "gpu", "smoke": smoke, "budget": budget, "hardware": hardware(), "versions": versions()}
        self.content = {
            **facts,
            "commit": commit(),
            "left_out": self.left_out,
            "failed": {},
            "steps": self.content["steps"],
        }

    def save(self) -> None:
        """Write all there is, here and among the results."""
        for folder in (self.work, self.out):
            written(folder / "gpu.json", self.content)

    def done(self, step: str) -> dict[str, Any]:
        """Results of a step's finished units, by name."""
        units = self.content["steps"].get(step, {})
        return {name: unit["result"] for name, unit in units.items() if unit["failure"] is None}

    def unit(
        self, step: str, name: str, kind: str, make: Callable[[], dict[str, Any]], *, again: bool = False
    ) -> dict[str, Any] | None:
        """The unit's result, known or made now; None where it failed or was left out.

        Args:
            step, name: what it is.
            kind: `WHAT NETWORK ...`; units alike in the whole, or else in the first two words, tell how long it takes.
            make: does it.
            again: do it although it was done before: what it makes lives in memory.
        """
        known: dict[str, Any] | None = self.done(step).get(name)
        if known is not None and not again:
            return known
        began = time.perf_counter()
        if self.budget is not None:
            left = self.budget - (began - self.began)
            if left <= 0 or left < self._expected(kind):
                self.left_out.append(f"{step}/{name}")
                return None
        unit: dict[str, Any] = {"kind": kind, "failure": None, "result": None}
        try:
            unit["result"] = make()
            json.dumps(unit["result"], allow_nan=False)
        except Exception as error:  # noqa: BLE001  one unit's failure must not cost the others
            unit |= {"failure": failure(error), "result": None}
        unit["seconds"] = time.perf_counter() - began
        self.content["steps"].setdefault(step, {})[name] = unit
        self.save()
        told = "failed: {type}: {message}".format(**unit["failure"]) if unit["failure"] else "done"
        print(f"[{time.perf_counter() - self.began:7.1f} s] {step}/{name} {told} ({unit['seconds']:.1f} s)", flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        result: dict[str, Any] | None = unit["result"]
        return result

    def guarded(self, name: str, make: Callable[[], None]) -> None:
        """Do what is no unit: a step around its units, a file of weights; its failure is noted beside the steps."""
        try:
            make()
            self.content["failed"].pop(name, None)
        except Exception as error:  # noqa: BLE001  as above
            self.content["failed"][name] = failure(error)
            print(f"{name} failed: {type(error).__name__}: {error}", flush=True)

    def failed(self) -> list[str]:
        """Names of all that failed."""
        units = [
            f"{step}/{name}"
            for step, each in self.content["steps"].items()
            for name in each
            if name not in self.done(step)
        ]
        return [*units, *self.content["failed"]]

    def _expected(self, kind: str) -> float:
        """Seconds that similar units have taken; the longest one of all where none is similar."""
        units = [unit for step in self.content["steps"].values() for unit in step.values()]
        timed: list[tuple[list[str], float]] = [
            (u["kind"].split(), u["seconds"]) for u in units if u["result"] and not u["result"].get("kept")
        ]
        for words in (kind.split(), kind.split()[:2]):
            if alike := [seconds for other, seconds in timed if other[: len(words)] == words]:
                return float(1.1 * statistics.median(alike))
        return max((seconds for _, seconds in timed), default=0.0)


class Course:
    """The steps, each of which does what is not in the book yet."""

    def __init__(self, book: Book, plan: Plan, source: str) -> None:
        self.book, self.plan, self.source, self.runtime = book, plan, source, Runtime()
        self.benches: dict[str, Bench] = {}

    def steps(self) -> dict[str, Callable[[], None]]:
        """Every step by its name."""
        plan = self.plan
        return {
            "small": lambda: self.small("small"),
            "small-residual": lambda: self.small("small-residual"),
            "airbench": self.airbench,
            "methods": lambda: self.methods("methods", "airbench", plan.methods, (0,)),
            "resnet18": lambda: self.methods("resnet18", "resnet18", plan.few, (0,)),
            "airbench-bank": self.bank,
            "seeds": lambda: self.methods("seeds", "airbench", plan.methods, plan.seeds),
        }

    def small(self, name: str) -> None:
        """A small network's original and retrained models, with their weights."""
        self.models(name, name, self.plan.networks[name].retrained)
        self.book.guarded(f"{name} weights", lambda: self.pack(name, torch.float32))

    def airbench(self) -> None:
        """The fast network's original and retrained models, with their weights."""
        self.models("airbench", "airbench", self.plan.networks["airbench"].retrained)
        self.book.guarded("airbench weights", lambda: self.pack("airbench", torch.float16))

    def bank(self) -> None:
        """The spread of the fast network's primary readings from seed to seed."""
        network = self.plan.networks["airbench"]
        if not self.models("airbench-bank", "airbench", BANK_MODELS):
            self.book.left_out.append("airbench-bank/bank")
            return
        folders = [self.book.work / "airbench" / f"retrained-{i}" for i in range(BANK_MODELS)]
        told: dict[str, Any] = {"model": network.model, "forget": FORGET, "settings": network.recipe}
        told |= {"name": "cifar10-airbench", "source": self.source, "runtime": self.runtime}
        original = self.book.work / "airbench" / "original"
        self.book.unit("airbench-bank", "bank", "bank airbench", lambda: bank(folders=[*folders, original], **told))

    def models(self, step: str, name: str, retrained: int) -> bool:
        """Train the original and the retrained models that are missing; returns whether all are there."""
        network, every = self.plan.networks[name], True
        for number in (None, *range(retrained)):
            unit = "original" if number is None else f"retrained-{number}"
            if unit in self.book.done(name):
                continue  # made by another step
            folder = self.book.work / name / unit
            seed = FIRST_SEED + (BANK_MODELS if number is None else number)

            def make(folder: Path = folder, seed: int = seed, original: bool = number is None) -> dict[str, Any]:
                kept = (folder / MANIFEST).is_file()
                if not kept:
                    spec = TrainSpec(
                        model=network.model,
                        data=self.source,
                        exclude=() if original else FORGET,
                        settings=network.recipe,
                    )
                    train_run(spec, Output(folder), seed=seed, runtime=self.runtime)
                return {"kept": kept, **evaluated(network.model, self.source, folder, self.runtime)}

            every &= self.book.unit(step, unit, f"train {name}", make) is not None
        return every

    def methods(self, step: str, name: str, methods: Sequence[str], seeds: Sequence[int]) -> None:
        """Each method and its audit, seed by seed; the models are trained where that is not done."""
        settled = self.models(name, name, self.plan.networks[name].retrained)
        rows = [(f"{method}-{seed}", method, seed) for seed in seeds for method in methods]
        missing = [row for row in rows if row[0] not in self.book.done(step)]
        if not missing:
            return
        open_unit = f"references-{name}"
        if not settled or (
            name not in self.benches
            and self.book.unit(step, open_unit, f"references {name}", lambda: self._observed(name), again=True) is None
        ):
            self.book.left_out += [f"{step}/{unit}" for unit, _, _ in missing]
            return
        bench = self.benches[name]
        recipe = read_json(bench.checkpoints[1].path.parent, "config.json", "recipe")["recipe"]
        known, settings = candidates(recipe, self.plan.changes), self.plan.changes
        for unit, method, seed in missing:

            def make(method: str = method, seed: int = seed) -> dict[str, Any]:
                made = one(bench, method, known[method], "default", seed, 0, {}, settings)
                assert made is not None, "every method has default settings"
                return made

            self.book.unit(step, unit, f"method {name} {method}", make)
            if name == "airbench":
                self.book.guarded("table", lambda: self._draw(bench))

    def _observed(self, name: str) -> dict[str, Any]:
        """Open the models that methods are run on and judged by, and observe them once for all methods."""
        models, work = self.book.work / name, self.book.work / f"runs-{name}"
        bench = Bench.opened(self.source, models, work, [*FORGET], self.plan.metrics)
        assert bench.references.subjects
        self.benches[name] = bench
        return {"bank": bench.bank.name if bench.bank else None}

    def _draw(self, bench: Bench) -> None:
        """Table and picture of the methods on the fast network, all seeds together."""
        done = {**self.book.done("methods"), **self.book.done("seeds")}
        rows = [row for row in done.values() if "method" in row]
        if any(not row["failure"] for row in rows):
            seeds = len({row["seed"] for row in rows})
            result = described(bench, seeds, 0, self.plan.changes, "cifar10") | {"rows": rows}
            draw(self.book.out / "methods.json", result)

    def pack(self, name: str, dtype: torch.dtype) -> None:
        """Write the weights of a step's models into as few files as their size allows, where they are not there."""
        done = self.book.done(name)
        parts: list[dict[str, Tensor]] = [{}]
        for unit in done:
            state = read_checkpoint(self.book.work / name / unit / WEIGHTS).state
            named = {f"{unit}/{key}": v.to(dtype) if v.is_floating_point() else v for key, v in state.items()}
            if parts[-1] and sum(v.nbytes for v in (*parts[-1].values(), *named.values())) > FILE_BYTES:
                parts.append({})
            parts[-1] |= named
        facts = {"model": self.plan.networks[name].model, "models": json.dumps(done), "card": hardware()["name"]}
        facts |= {"torch": torch.__version__, "smoke": str(self.book.content["smoke"])}
        for number, part in enumerate(parts if done else ()):
            written(self.book.out / f"{name}{'' if not number else f'-{number + 1}'}.safetensors", save(part, facts))


def evaluated(model: str, source: str, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """Test accuracy of a trained model on the retained classes, plain and with test-time augmentation, and on class 0.

    The logits of six views are averaged, as in `fast_network.py`.
    """
    checkpoint = read_checkpoint(folder / WEIGHTS)
    data = load_images(source, checkpoint)
    split = split_for(ForgetRequest(classes=FORGET), data)
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    view = DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=runtime.device)
    network = open_model(model, checkpoint, data)
    runtime = runtime.fitted(network, data.shape, exact=True)
    network = runtime.weights(network)
    accuracy = {}
    for key, asked, part in (
        ("accuracy_retained", network, Part.RETAIN_TEST),
        ("accuracy_retained_tta", Averaged(network), Part.RETAIN_TEST),
        ("accuracy_forgotten", network, Part.FORGET_TEST),
    ):
        samples = view.part(part)
        accuracy[key] = float((predict(asked, samples, runtime).argmax(dim=1) == samples.labels).float().mean())
    config, cost = read_json(folder, "config.json"), read_json(folder, "cost.json", "total")["total"]
    facts = {key: config[key] for key in ("seed", "recipe", "precision", "validation_accuracy")} | {"cost": cost}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"model": model, "parameters": parameters, **facts, **accuracy}


def failure(error: Exception) -> dict[str, str]:
    """What is recorded of an error, while it is handled."""
    return {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}


def hardware() -> dict[str, Any]:
    """What the figures were measured on."""
    cuda = torch.cuda.is_available()
    return {
        "device": str(Runtime().device),
        "name": torch.cuda.get_device_name() if cuda else platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
    }


def commit() -> str | None:
    """The commit of this file's repository, where git knows it."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def decoded_once(load: Callable[[str, ImageOptions], ImageData]) -> Callable[[str, ImageOptions], ImageData]:
    """A loader like `load` that decodes everything once, and not for every model anew.

    Each opening still has its own marks of what was read, and its own copy on the device.
    """
    kept: dict[tuple[str, ImageOptions], tuple[ImageData, list[Tensor]]] = {}

    def loaded(directory: str, options: ImageOptions) -> ImageData:
        wanted = replace(options.preprocessing, channels=options.preprocessing.channels or 3)
        key = directory, replace(options, preprocessing=wanted)
        if key not in kept:
            data = load(*key)
            data.fix_shape(0)
            kept[key] = data, [s.images(torch.arange(len(s)), torch.device("cpu")) for s in (data.train, data.test)]
        data, (train, test) = kept[key]
        return replace(
            data,
            train=ImageSet.from_tensor(train, data.train.labels),
            test=ImageSet.from_tensor(test, data.test.labels),
        )

    return loaded


def digits(_directory: str, _options: ImageOptions) -> ImageData:
    """200 digits for training and 100 for the test, as RGB images of 24 pixels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    small = torch.tensor(found.images[:300], dtype=torch.float32)[:, None] * (255 / 16)
    images = F.interpolate(small, size=24, mode="nearest").to(torch.uint8).repeat(1, 3, 1, 1)
    labels = torch.tensor(found.target[:300])
    train, test = (ImageSet.from_tensor(images[a:b], labels[a:b]) for a, b in ((0, 200), (200, 300)))
    fed = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    return ImageData(
        source="parquet:digits", classes=tuple(map(str, range(10))), train=train, test=test, preprocessing=fed
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--budget", type=float)
    parser.add_argument("--only", nargs="+", choices=STEPS)
    parser.add_argument("--list", action="store_true", help="name the steps; nothing is run")
    parser.add_argument("--smoke", action="store_true", help="tiny networks on digits, without --data")
    arguments = parser.parse_args(argv)
    plan = SMOKE if arguments.smoke else FULL
    wanted = ["work", "out"] if arguments.smoke else ["data", "work", "out"]
    missing = [f"--{key}" for key in wanted if getattr(arguments, key) is None]
    if missing and not arguments.list:
        parser.error(f"Expected {', '.join(missing)}.")
    source = "parquet:digits" if arguments.smoke else f"parquet:{arguments.data}"
    if arguments.list:
        print(*STEPS, sep="\n")
        return
    for folder in (arguments.work, arguments.out):
        folder.mkdir(parents=True, exist_ok=True)
    book = Book(arguments.work, arguments.out, arguments.budget, smoke=arguments.smoke)
    steps = Course(book, plan, source).steps()
    with ExitStack() as stack:
        load = digits if arguments.smoke else SOURCES["parquet"].load
        stack.enter_context(patch.dict(SOURCES, {"parquet": Source(load=decoded_once(load), needs="DIR")}))
        if arguments.smoke:  # relearning is tried for three steps
            stack.enter_context(patch.object(relearning_module, "measuring_steps", lambda cap: [1, min(3, cap)]))
        for name in arguments.only or steps:
            book.guarded(name, steps[name])
    book.save()
    seconds = time.perf_counter() - book.began
    print(
        f"[{seconds:7.1f} s] left out: {', '.join(book.left_out) or 'nothing'}; "
        f"failed: {', '.join(book.failed()) or 'nothing'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
