"""Checks the priors by leaving one setting out: how often fresh retrained models pass, and controls are caught.

    python benchmarks/check_prior.py [--draws 200] [--banks DIR]

In each setting some of its retrained models are drawn as references. Another of them is judged as if it were an
unlearned model, and so are the original and its head mask: without any prior, with the prior that all *other* settings
give, with that of settings on other data alone, and with a bank of the setting itself from all its models but the one
that is judged. Computed from the committed banks, in seconds; writes benchmarks/results/check_prior.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from bank_subsets import BANKS, Measured, measured_banks
from unlearnkit.audit.bank import over_banks
from unlearnkit.audit.metric import Vote
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.observe.relearning import CAP
from unlearnkit.audit.prior import Prior
from unlearnkit.audit.verdict import FEWEST, MOST_ASKED, POWER, Scale, half_width, judge, verdict

COUNTS = (3, 5, 8)
CONTROLS = ("original", "head-mask")
MODES = ("none", "other settings", "other data", "own bank")
OUT = Path(__file__).parent / "results" / "check_prior.json"


def judged_as(
    setting: Measured, model: str, references: tuple[str, ...], priors: Mapping[str, Prior]
) -> tuple[str, list[str], list[str]]:
    """Return the verdict on a model, and the keys of the readings that fail and that stay unknown."""
    found = []
    for vote, (retrained, original) in zip(PRIMARY, _known(setting, references), strict=True):
        found.append(
            judge(
                vote,
                unlearned=setting.value(vote, model, references),
                retrained=retrained,
                original=original,
                samples=setting.samples(vote) or None,
                prior=priors.get(vote.key),
                censored=vote.scale == "time" and any(value >= CAP for value in retrained),
            )
        )
    failed, unknown = ([j.vote.key for j in found if j.status == status] for status in ("fail", "unknown"))
    return verdict(found).status, failed, unknown


@lru_cache(maxsize=1000)
def _known(setting: Measured, references: tuple[str, ...]) -> list[tuple[list[float], float]]:
    """Return the readings of the references and of the original, for each vote."""
    return [
        (
            [setting.value(vote, reference, references) for reference in references],
            setting.value(vote, "original", references),
        )
        for vote in PRIMARY
    ]


def needed(setting: Measured, vote: Vote, prior: Prior | None) -> int | None:
    """Return with how many retrained models the original is told from them, where they spread as all of the bank's do.

    None where `MOST_ASKED` would not do.
    """
    scale = Scale(kind=vote.scale, samples=setting.samples(vote))
    points = [scale.to(setting.value(vote, model, setting.retrained)) for model in setting.retrained]
    mean, own = sum(points) / len(points), vote.widened(len(points)) * statistics.stdev(points)
    away = scale.to(setting.value(vote, "original", setting.retrained)) - mean
    margin = scale.margin(mean, math.copysign(vote.delta, away))
    degrees = prior.degrees if prior is not None else 0.0
    known = prior.spread * (scale.unit(mean) if prior.relative and vote.counted else 1.0) if prior is not None else 0.0
    for k in range(FEWEST, MOST_ASKED + 1):
        pooled = math.sqrt((degrees * known**2 + (k - 1) * own**2) / (degrees + k - 1))
        if abs(away) >= POWER * max(margin, half_width(pooled, degrees, k, len(PRIMARY))):
            return k
    return None


def draws(setting: Measured, k: int, most: int) -> list[tuple[tuple[str, ...], str]]:
    """Return (references, fresh model) of a setting: all there are, or `most` of them at random."""
    every = [
        (references, fresh)
        for references in itertools.combinations(setting.retrained, k)
        for fresh in setting.retrained
        if fresh not in references
    ]
    return every if len(every) <= most else random.Random(k).sample(every, most)


def priors_of(setting: Measured, others: Sequence[Measured], mode: str, fresh: str | None) -> Mapping[str, Prior]:
    """Return the priors that a mode gives; `fresh` is left out of the setting's own bank."""
    if mode == "own bank":
        models = [model for model in setting.retrained if model != fresh]
        return {vote.key: setting.own_prior(vote, models) for vote in PRIMARY}
    if mode == "none":
        return {}
    near = [o for o in others if mode == "other settings" or o.bank.classes != setting.bank.classes]
    return over_banks([other.bank for other in near])


def rows(settings: Sequence[Measured], most: int) -> Iterator[dict[str, Any]]:
    """Judge all draws of all settings."""
    for setting in settings:
        others = [other for other in settings if other is not setting]
        for mode in MODES:
            kept = {fresh: priors_of(setting, others, mode, fresh) for fresh in (None, *setting.retrained)}
            for k in COUNTS:
                fresh_verdicts: Counter[str] = Counter()
                caught: Counter[str] = Counter()
                failed: Counter[str] = Counter()
                unknown: Counter[str] = Counter()
                caught_by: dict[str, Counter[str]] = {control: Counter() for control in CONTROLS}
                every = draws(setting, k, most)
                for references, fresh in every:
                    status, wrong, open_ = judged_as(setting, fresh, references, kept[fresh])
                    fresh_verdicts[status] += 1
                    failed.update(wrong)
                    unknown.update(open_)
                    for control in CONTROLS:
                        status, wrong, _ = judged_as(setting, control, references, kept[None])
                        caught[control] += status == "fail"
                        caught_by[control].update(wrong)
                n = len(every)
                yield {
                    "setting": setting.bank.name,
                    "prior": mode,
                    "k": k,
                    "draws": n,
                    "fresh": {status: fresh_verdicts[status] / n for status in ("pass", "unknown", "fail")},
                    "caught": {control: caught[control] / n for control in CONTROLS},
                    "fresh_fails_by": {key: count / n for key, count in sorted(failed.items())},
                    "unknown": {key: count / n for key, count in sorted(unknown.items())},
                    "caught_by": {
                        control: {key: count / n for key, count in sorted(by.items())}
                        for control, by in caught_by.items()
                    },
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--banks", type=Path, default=BANKS)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    settings = measured_banks(arguments.banks)
    if len(settings) < 4:
        parser.error(f"expected four banks or more with the models' own readings, but {arguments.banks} has fewer")
    priors = over_banks([setting.bank for setting in settings])
    print("prior over all settings:")
    for key, prior in priors.items():
        each = "  ".join(f"{s.bank.variances[key] ** 0.5:.3f}" for s in settings if key in s.bank.variances)
        print(f"  {key:34} s0 {prior.spread:.3f}  d0 {prior.degrees:.1f}   of {each}")
    asked: dict[str, dict[str, int | None]] = {}
    print("retrained models with which the original is told, by the prior of the other settings (-: not with 20):")
    for setting in settings:
        own = priors_of(setting, [other for other in settings if other is not setting], "other settings", None)
        asked[setting.bank.name] = {vote.key: needed(setting, vote, own.get(vote.key)) for vote in PRIMARY}
        told = "  ".join(f"{key}: {count or '-'}" for key, count in asked[setting.bank.name].items())
        print(f"  {setting.bank.name:20} {told}")
    found = []
    print(f"{'setting':20} {'prior':15} k  draws  fresh: not failed, pass, unknown   caught: {', '.join(CONTROLS)}")
    for row in rows(settings, arguments.draws):
        found.append(row)
        fresh, caught = row["fresh"], row["caught"]
        print(
            f"{row['setting']:20} {row['prior']:15} {row['k']}  {row['draws']:5}  {1 - fresh['fail']:17.0%}, "
            f"{fresh['pass']:.0%}, {fresh['unknown']:.0%}   {', '.join(f'{caught[c]:.0%}' for c in CONTROLS)}",
            flush=True,
        )
    content = {
        "benchmark": "check_prior",
        "priors": {key: {"s0": prior.spread, "d0": prior.degrees} for key, prior in priors.items()},
        "needed": asked,
        "rows": found,
    }
    arguments.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
