"""Trains the digits networks that the audit's controls are held against, and judges networks by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from canonical import CPU
from hostile_networks import Insider
from remembered import fits
from unlearnkit import ForgetRequest
from unlearnkit.audit import METRICS, Audit, Metric, audit, gather
from unlearnkit.audit.bank import bank_for
from unlearnkit.audit.evidence import Evidence, Returned
from unlearnkit.audit.metric import TRAINING
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS
from unlearnkit.audit.observe.returning import returned
from unlearnkit.data import AccessLog, DataView
from unlearnkit.data.sources.registry import load_data
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.split import Part, split_for
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

# a network that never saw half of the digits has not the features to tell them by; where one is left out, it has
FORGOTTEN = (1, 3, 5, 7, 9)
REQUEST = ForgetRequest(classes=FORGOTTEN)
VOTING = {name: METRICS[name] for name in PRIMARY_METRICS}  # the verdict rests on these alone
WITHOUT_TRAINING = {name: metric for name, metric in VOTING.items() if not metric.wants & TRAINING}


def train_digits(folder: Path) -> list[nn.Module]:
    """The original, three retrained models, and a fourth one with another seed."""
    models: list[nn.Module] = []
    for seed in range(5):
        out = folder / str(seed)
        exclude = [str(k) for k in FORGOTTEN] if seed else []
        train_run(
            TrainSpec(model="small-cnn", data="digits", exclude=exclude), Output(out), seed=20 + seed, runtime=CPU
        )
        model = SmallCNN(10, 1)
        read_checkpoint(out / WEIGHTS).load_into(model)
        models.append(model.eval())
    return models


class Judge:
    """Holds models against the same original and three retrained ones, which are looked at once."""

    def __init__(self, trained: list[nn.Module]) -> None:
        self.trained = trained
        self._models = {"original": trained[0], "retrained": trained[1:4]}
        self._data = load_data("digits")
        self._split = split_for(REQUEST, self._data)
        self._data.fix_shape(self._split.retained_row("the audit"))
        self._known: Evidence | None = None
        self._returned: dict[int, Returned] = {}
        bank = bank_for("digits", self._data.classes, "small-cnn", REQUEST.resolve(self._data.classes).forget_names)
        assert bank is not None
        self.priors = bank.priors

    def __call__(self, unlearned: nn.Module, metrics: Mapping[str, Metric] = VOTING) -> Audit:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("unlearnkit.audit.observe.gather.returned", self._returned_once)
            evidence = gather(
                {**self._models, "unlearned": unlearned},
                self._data,
                self._split,
                metrics=VOTING.values() if self._known is None else metrics.values(),
                seed=0,
                runtime=CPU,
                earlier=self._known,
            )
        if self._known is None:
            self._known = replace(evidence, subjects=tuple(s for s in evidence.subjects if s.name != "unlearned"))
        with fits():
            return audit(evidence, metrics, priors=self.priors)

    def _returned_once(self, model: nn.Module, *args: Any, **options: Any) -> Returned:
        """Train the same network no second time: the original is held against itself."""
        if all(model is not each for each in self.trained):
            return returned(model, *args, **options)
        if id(model) not in self._returned:
            self._returned[id(model)] = returned(model, *args, **options)
        return self._returned[id(model)]

    def insider(self) -> Insider:
        """What an adversary has: all that there is."""
        view = DataView(
            self._data,
            self._split,
            frozenset(Part),
            reader="audit",
            log=AccessLog(self._data),
            device=torch.device("cpu"),
        )
        parts = [view.part(part) for part in (Part.RETAIN_TRAIN, Part.FORGET_TRAIN)]
        return Insider(
            original=self.trained[0],
            teacher=self.trained[4],
            images=torch.cat([CPU.inputs(part.images(torch.arange(len(part)))) for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            forgotten=FORGOTTEN,
        )
