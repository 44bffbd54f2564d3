"""Says which units the steps of `gpu.py` have, and does them: trainings, methods with their audits, timings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

import imagenet_shaped
import speed
from compare_methods import candidates, described, draw, one
from comparison_runs import Bench
from gpu_book import Book, Step, Unit
from gpu_plan import FIRST_SEED, FORGET, RETRAINED, STEPS, Plan
from gpu_weights import evaluated, packed
from make_bank import bank
from unlearnkit import ForgetRequest, Runtime
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json
from unlearnkit.split import split_for
from unlearnkit.steps.checkpoints import place_of
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run


class Course:
    """The steps, each of whose units does what is not in the book yet."""

    def __init__(self, book: Book, plan: Plan, sources: Mapping[str, str]) -> None:
        self.book, self.plan, self.sources, self.runtime = book, plan, sources, Runtime()
        self.benches: dict[str, Bench] = {}

    def steps(self) -> list[Step]:
        """Every step, in order of worth."""
        plan, every = self.plan, (*self.plan.headline, *self.plan.others)
        steps = (
            self.models("airbench", dtype=torch.float16),
            self.methods("headline", "airbench", plan.headline, (0,)),
            self.speed("speed", "airbench"),
            self.methods("field", "airbench", plan.others, (0,)),
            self.models("resnet18"),
            self.methods("resnet18-headline", "resnet18", plan.headline, (0,)),
            self.speed("resnet18-speed", "resnet18"),
            self.hundred(),
            self.imagenet(),
            self.methods("seeds", "airbench", every, plan.seeds),
            self.bank(),
            self.methods("resnet18-field", "resnet18", plan.others, (0,)),
            self.methods("resnet18-seeds", "resnet18", every, plan.seeds),
            self.models("small", dtype=torch.float32),
            self.models("small-residual", dtype=torch.float32),
        )
        assert tuple(step.name for step in steps) == STEPS
        return list(steps)

    def missing(self, network: str) -> str:
        """Why a network cannot be trained; empty where it can."""
        data = self.plan.networks[network].data
        return "" if data in self.sources else f"no {data} in --data"

    def names(self, network: str) -> list[str]:
        """Names of a network's original and retrained models."""
        return ["original", *(f"retrained-{i}" for i in range(self.plan.networks[network].retrained))]

    def models(self, network: str, dtype: torch.dtype | None = None) -> Step:
        """A network's original and retrained models, and with a dtype files of their weights."""
        units = tuple(
            Unit(name=name, kind=f"train {network}", make=partial(self._train, network, name))
            for name in self.names(network)
        )
        pack = None if dtype is None else partial(self._pack, network, dtype)
        return Step(name=network, units=units, after=pack, missing=self.missing(network))

    def methods(self, step: str, network: str, methods: Sequence[str], seeds: Sequence[int]) -> Step:
        """Each method and its audit, seed by seed, held against all of a network's retrained models."""
        opened = Unit(
            name=f"references-{network}",
            kind=f"references {network}",
            make=partial(self._observed, network),
            needs=tuple(f"{network}/{name}" for name in self.names(network)),
            memory=True,
        )
        rows = tuple(
            Unit(
                name=f"{method}-{seed}",
                kind=f"method {network} {method}",
                make=partial(self._method, network, method, seed),
                needs=(opened.name,),
            )
            for seed in seeds
            for method in methods
        )
        draw = self._draw if network == "airbench" else None
        return Step(name=step, units=(opened, *rows), each=draw, missing=self.missing(network))

    def hundred(self) -> Step:
        """Models and methods on CIFAR-100."""
        models, methods = self.models("cifar100"), self.methods("cifar100", "cifar100", self.plan.hundred, (0,))
        return replace(methods, units=(*models.units, *methods.units))

    def bank(self) -> Step:
        """The spread of the fast network's primary readings from seed to seed."""
        network = self.plan.networks["airbench"]
        folders = [self.book.work / "airbench" / name for name in (*self.names("airbench")[1:], "original")]
        told: dict[str, Any] = {"model": network.model, "forget": FORGET, "settings": network.recipe}
        told |= {"name": "cifar10-airbench", "source": self.sources.get(network.data), "runtime": self.runtime}
        unit = Unit(
            name="bank",
            kind="bank airbench",
            make=lambda: bank(folders=folders, **told),
            needs=tuple(f"airbench/{name}" for name in self.names("airbench")),
        )
        return Step(name="airbench-bank", units=(unit,), missing=self.missing("airbench"))

    def speed(self, step: str, network: str) -> Step:
        """Seconds of UNSIR, as published and here, and of `erase`, beside retraining and Fisher forgetting."""
        unit = Unit(
            name=network,
            kind=f"speed {network}",
            make=partial(self._speed, network),
            needs=(f"{network}/original",),
        )
        return Step(name=step, units=(unit,), missing=self.missing(network))

    def imagenet(self) -> Step:
        """Images of ImageNet's shape, streamed from files through a ViT-B and a MobileNetV2: do files keep up?"""
        plan = self.plan.shaped
        given = argparse.Namespace(**vars(plan), work=self.book.work / "imagenet", workers=min(8, os.cpu_count() or 1))

        def through(model: str) -> dict[str, Any]:
            imagenet_shaped.generate(given.work, given.images, given.classes)
            return {"rows": imagenet_shaped.through(model, given)}

        units = (Unit(name=model, kind=f"imagenet {model}", make=partial(through, model)) for model in plan.models)
        return Step(name="imagenet", units=tuple(units))

    def _train(self, name: str, unit: str) -> dict[str, Any]:
        """Train a model where that is not done, and evaluate it."""
        network, folder = self.plan.networks[name], self.book.work / name / unit
        source = self.sources[network.data]
        original = unit == "original"
        kept = (folder / MANIFEST).is_file()
        if not kept:
            spec = TrainSpec(
                model=network.model, data=source, exclude=() if original else FORGET, settings=network.recipe
            )
            seed = FIRST_SEED + (RETRAINED if original else int(unit.removeprefix("retrained-")))
            unfinished = place_of(folder).is_file()  # by a process that was killed
            train_run(spec, Output(folder), seed=seed, runtime=self.runtime, resume=unfinished)
        return {"kept": kept, "goal": network.goal, **evaluated(network.model, source, folder, self.runtime)}

    def _method(self, network: str, method: str, seed: int) -> dict[str, Any]:
        """Run a method and audit it."""
        bench, settings = self.benches[network], self.plan.changes
        recipe = read_json(bench.checkpoints[1].path.parent, "config.json", "recipe")["recipe"]
        made = one(bench, method, candidates(recipe, settings)[method], "default", seed, 0, {}, settings)
        assert made is not None, "every method has default settings"
        return made

    def _speed(self, name: str) -> dict[str, Any]:
        """Time the ways in turn on the original of a network, by the clock of this device."""
        network, timed = self.plan.networks[name], self.plan.timed
        folder = self.book.work / name / "original"
        checkpoint = read_checkpoint(folder / WEIGHTS)
        data = load_images(self.sources[network.data], checkpoint)
        request = ForgetRequest(classes=FORGET)
        data.fix_shape_for(split_for(request, data))
        model = open_model(network.model, checkpoint, data)
        runtime = replace(self.runtime, precision="fp32")  # of what they are held against, too
        epochs = read_json(folder, "config.json", "recipe")["recipe"]["epochs"]
        found = speed.compared(
            model,
            data,
            request,
            speed.usual_ways(timed.short),
            timed.numbers,
            timed.repeats,
            runtime=runtime,
            epochs=epochs,
        )
        retrained = [unit["cost"]["seconds"] for key, unit in self.book.done(name).items() if key != "original"]
        return {**found, "retraining_seconds": retrained, "runtime": runtime.described()}

    def _observed(self, name: str) -> dict[str, Any]:
        """Open the models that methods are run on and judged by, and observe them once for all methods."""
        models, work = self.book.work / name, self.book.work / f"runs-{name}"
        network = self.plan.networks[name]
        bench = Bench.opened(
            self.sources[network.data], models, work, [*FORGET], self.plan.metrics, retrained=network.retrained
        )
        assert bench.references.subjects
        self.benches[name] = bench
        return {"bank": bench.bank.name if bench.bank else None}

    def _pack(self, name: str, dtype: torch.dtype) -> None:
        """Write the weights of a network's models that are done."""
        done, model = self.book.done(name), self.plan.networks[name].model
        packed(self.book.work / name, done, model, self.book.out, dtype=dtype, smoke=self.book.facts["smoke"])

    def _draw(self) -> None:
        """Table and picture of the methods on the fast network, all seeds together."""
        rows = [row for step in ("headline", "field", "seeds") for row in self.book.done(step).values()]
        rows = [row for row in rows if "method" in row]
        if any(not row["failure"] for row in rows):
            seeds = len({row["seed"] for row in rows})
            result = described(self.benches["airbench"], seeds, 0, self.plan.changes, "cifar10") | {"rows": rows}
            draw(self.book.out / "methods.json", result)
