"""Does the steps of `gpu.py`: trains networks, runs methods with their audits, and packs weights."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

import imagenet_shaped
from compare_methods import candidates, described, draw, one
from comparison_runs import Bench, written
from fast_network import Averaged
from gpu_book import Book, hardware
from gpu_plan import BANK_MODELS, FILE_BYTES, FIRST_SEED, FORGET, Plan
from make_bank import bank
from unlearnkit import ForgetRequest, Runtime
from unlearnkit.data import AccessLog, DataView
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json
from unlearnkit.split import Part, split_for
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.training.predict import predict


class Course:
    """The steps, each of which does what is not in the book yet."""

    def __init__(self, book: Book, plan: Plan, sources: Mapping[str, str]) -> None:
        self.book, self.plan, self.sources, self.runtime = book, plan, sources, Runtime()
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
            "cifar100": lambda: self.methods("cifar100", "cifar100", plan.hundred, (0,)),
            "imagenet": self.imagenet,
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
        told |= {"name": "cifar10-airbench", "source": self.sources[network.data], "runtime": self.runtime}
        original = self.book.work / "airbench" / "original"
        self.book.unit("airbench-bank", "bank", "bank airbench", lambda: bank(folders=[*folders, original], **told))

    def imagenet(self) -> None:
        """Images of ImageNet's shape, streamed from files through a ViT-B and a MobileNetV2: do files keep up?"""
        plan = self.plan.shaped
        given = argparse.Namespace(**vars(plan), work=self.book.work / "imagenet", workers=min(8, os.cpu_count() or 1))

        def through(model: str) -> dict[str, Any]:
            imagenet_shaped.generate(given.work, given.images, given.classes)
            return {"rows": imagenet_shaped.through(model, given)}

        for model in plan.models:
            self.book.unit("imagenet", model, f"imagenet {model}", partial(through, model))

    def models(self, step: str, name: str, retrained: int) -> bool:
        """Train the original and the retrained models that are missing; returns whether all are there."""
        network, every = self.plan.networks[name], True
        if network.data not in self.sources:
            self.book.left_out.append(f"{step} (nobody named {network.data})")
            return False
        source = self.sources[network.data]
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
                        data=source,
                        exclude=() if original else FORGET,
                        settings=network.recipe,
                    )
                    train_run(spec, Output(folder), seed=seed, runtime=self.runtime)
                return {"kept": kept, **evaluated(network.model, source, folder, self.runtime)}

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
        bench = Bench.opened(self.sources[self.plan.networks[name].data], models, work, [*FORGET], self.plan.metrics)
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
