"""Reads banks, the committed measurements of how much the primary readings of retrained models vary with the seed.

A bank is a JSON file in `banks/`, made by `benchmarks/make_bank.py`: for each primary reading the values of at least
nine models retrained in one setting, and their standard deviation on the reading's scale. An audit of that setting
takes its own bank for the prior, and any other what all banks together say of a setting that none of them is of
(`audit/prior.py`).

No spread is taken for smaller than one that would matter: a quarter of the reading's margin, as the band around three
retrained models is about four spreads wide, and the margin decides below that; and, for a proportion, the spread of
the bank's models had one of them one more sample right. So nine models with a forget accuracy of exactly 0 do not say
that a tenth cannot get one sample right by chance.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from unlearnkit.audit.metric import Vote
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.prior import Prior, over_settings
from unlearnkit.audit.verdict import Scale

BUNDLED = "digits"
OWN_DEGREES = 8.0  # d0 of a setting's own bank
SHARE_OF_MARGIN = 0.25


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The spread of the primary readings of retrained models, measured in one setting.

    Args:
        name: its file's name.
        data: kind of the data source, such as `digits` or `parquet`.
        model: architecture with its options.
        classes: the class list.
        forget: the classes that its models were retrained without.
        models: how many retrained models are behind it.
        priors: of every primary reading, by its key, for an audit of this setting.
        variances: s^2 of every primary reading over its models in units of its scale (`Scale.unit`), for audits of
            other settings. Unlike s0 it is of the times as they were measured here, not as an audit cuts them off.
    """

    name: str
    data: str
    model: str
    classes: tuple[str, ...]
    forget: tuple[str, ...]
    models: int
    priors: Mapping[str, Prior]
    variances: Mapping[str, float]


def priors_for(bank: Bank | None) -> Mapping[str, Prior]:
    """Return the priors for an audit, by the key of the primary reading.

    Args:
        bank: of the audit's setting; None where there is none.
    """
    return _of_any_setting() if bank is None else bank.priors


def over_banks(banks: Sequence[Bank]) -> dict[str, Prior]:
    """Return what several banks say of a setting that none of them is of; a reading that too few hold has no prior."""
    priors = {}
    for vote in PRIMARY:
        having = [bank for bank in banks if vote.key in bank.variances]
        prior = over_settings([b.variances[vote.key] for b in having], [b.models - 1 for b in having])
        if prior is not None:
            priors[vote.key] = prior
    return priors


def smallest_spread(vote: Vote, values: Sequence[float], samples: int) -> float:
    """Return the spread on the reading's scale below which that of `values` is not taken to lie; see the module.

    Args:
        vote: the reading.
        values: of the bank's models.
        samples: number behind a proportion.
    """
    scale = Scale(kind=vote.scale, samples=samples)
    mean = statistics.mean(scale.to(value) for value in values)
    signs = {"both": (-1, 1), "low": (-1,), "high": (1,)}[vote.fault]
    least = SHARE_OF_MARGIN * max(scale.margin(mean, sign * vote.delta) for sign in signs)
    if vote.scale != "proportion":
        return least
    count = max(scale.margin(mean, sign / samples) for sign in signs)
    return max(least, count / math.sqrt(len(values)))


def bank_for(source: str, classes: Sequence[str], model: str, forget: Sequence[str]) -> Bank | None:
    """Return the bank of the setting nearest to this audit's.

    It has the same classes and architecture, and about as many classes forgotten.

    None where there is no bank of these classes and this architecture: no other is near enough to speak for it. The
    bundled digits and a folder of other images named 0 to 9 are two settings. How long the models were trained is not
    compared.

    Args:
        source: data source as on the command line.
        classes: the class list of the data.
        model: name of the architecture with its options.
        forget: names of the classes to forget.
    """
    kind = source.partition(":")[0]
    near = [
        bank
        for bank in banks()
        if (bank.classes, bank.model) == (tuple(classes), model) and (bank.data == BUNDLED) == (kind == BUNDLED)
    ]
    return min(near, key=lambda b: (abs(len(b.forget) - len(forget)), set(b.forget) != set(forget)), default=None)


def banks() -> list[Bank]:
    """Read every committed bank, and return them by name."""
    files = [f for f in (resources.files("unlearnkit.audit") / "banks").iterdir() if f.name.endswith(".json")]
    return [read_bank(f.name.removesuffix(".json"), f.read_text(encoding="utf-8")) for f in sorted(files, key=str)]


@cache
def _of_any_setting() -> Mapping[str, Prior]:
    return over_banks(banks())


def read_bank(name: str, text: str) -> Bank:
    """Return the bank that a file's text holds."""
    content = json.loads(text)
    votes = {vote.key: vote for vote in PRIMARY}
    priors, variances = {}, {}
    for key, reading in content["readings"].items():
        if key not in votes:
            continue
        vote, values, samples = votes[key], [float(value) for value in reading["values"]], int(reading["samples"])
        scale = Scale(kind=vote.scale, samples=samples)
        least = smallest_spread(vote, values, samples)
        widened = vote.widened(len(values))
        priors[key] = Prior(max(widened * float(reading["s0"]), least), OWN_DEGREES)
        points = [scale.to(value) for value in values]
        spread = widened * statistics.stdev(points)
        if spread > 0 or vote.scale != "time":  # times of models that all need no step at all say nothing
            unit = scale.unit(statistics.mean(points)) if vote.counted else 1.0
            variances[key] = (max(spread, least) / unit) ** 2
    return Bank(
        name=name,
        data=content["data"],
        model=content["model"],
        classes=tuple(content["classes"]),
        forget=tuple(content["forget"]),
        models=int(content["models"]),
        priors=priors,
        variances=variances,
    )
