"""The verdict: its rules on constructed readings, and its error rate by simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from unlearnkit.audit import audit
from unlearnkit.audit.doubts import Doubt, because
from unlearnkit.audit.evidence import Evidence, Subject
from unlearnkit.audit.metric import ROWS, Metric, Vote
from unlearnkit.audit.metrics.registry import PRIMARY, votes_for
from unlearnkit.audit.prior import Prior
from unlearnkit.audit.reading import ModelName, Reading
from unlearnkit.audit.row_power import without_power
from unlearnkit.audit.verdict import MOST_ASKED, POWER, Judged, Scale, judge, judge_all, settling, verdict

TIME = Vote(metric="steps", family="relearn", scale="time", delta=0.25)  # none of ours votes any more
RETAINED = next(p for p in PRIMARY if p.key == "accuracy/retain_test")
PROBE = next(p for p in PRIMARY if p.metric == "probe_recovery")
N = 10_000


def logit(x: float, n: int = N) -> float:
    return math.log((x * n + 0.5) / ((1 - x) * n + 0.5))


DEGREES = 8  # of a bank's standard deviation


def judged(primary: Vote, unlearned: float, retrained: list[float], original: float, prior: float = 0.05) -> Judged:
    known = Prior(prior, DEGREES)
    return judge(primary, unlearned=unlearned, retrained=retrained, original=original, samples=N, prior=known)


def test_the_primary_readings_are_those_that_were_fixed() -> None:
    assert [p.key for p in PRIMARY] == [
        "accuracy/retain_test",
        "accuracy/forget_test",
        "prediction_tv/forget_test",
        "activation_distance/forget_test",
        "membership_auc_loss",
        "class_membership_auc",
        "probe_recovery/forget_test",
        "prototype_recovery/forget_test",
        "depth_recovery/forget_test",
        "return_recovery/forget_test",
    ]
    assert [p.delta for p in PRIMARY] == [0.01, 0.01, 0.05, 0.05, 0.02, 0.02, 0.02, 0.02, 0.25, 0.05]


def test_the_band_is_the_formula() -> None:
    """With Student's t by numerical integration of its density, 10 degrees of freedom, tail 0.05 / 20."""
    x = np.linspace(0, 400, 4_000_001)
    density = math.gamma(5.5) / (math.sqrt(10 * math.pi) * math.gamma(5)) * (1 + x**2 / 10) ** -5.5
    tail = 0.5 - (np.cumsum(density) - density / 2 - density[0] / 2) * (x[1] - x[0])  # trapezoids
    t = float(x[np.argmax(tail < 0.05 / 20)])
    retrained, prior = [0.70, 0.72, 0.75], 0.06
    points = [logit(x) for x in retrained]
    mean = sum(points) / 3
    variance = sum((x - mean) ** 2 for x in points) / 2
    pooled = math.sqrt((8 * prior**2 + 2 * variance) / 10)
    half = t * pooled * math.sqrt(4 / 3)
    result = judged(PROBE, 0.80, retrained, 0.99, prior)
    assert result.gap == pytest.approx((logit(0.80) - mean) / half, rel=1e-3)
    assert result.band is not None
    assert logit(result.band[1]) == pytest.approx(mean + half, rel=1e-3)
    assert logit(result.band[0]) == pytest.approx(mean - half, rel=1e-3)


@pytest.mark.parametrize(("value", "status"), [(0.719, "pass"), (0.679, "fail"), (0.741, "fail"), (0.681, "pass")])
def test_where_the_models_agree_the_margin_decides(value: float, status: str) -> None:
    """Two points of probe recovery are no fault, however alike the retrained models are."""
    result = judged(PROBE, value, [0.70, 0.70, 0.70], 0.95, prior=1e-6)
    expected = "pass" if abs(value - 0.70) <= 0.02 else "fail"
    assert status == expected or value > 0.72
    assert result.status == expected
    assert result.band == pytest.approx((0.68, 0.72), abs=1e-6)


def test_retained_accuracy_has_one_wrong_side() -> None:
    assert judged(RETAINED, 0.99, [0.9, 0.9, 0.9], 0.9).status == "pass"
    assert judged(RETAINED, 0.99, [0.9, 0.9, 0.9], 0.9).gap == 0
    assert judged(RETAINED, 0.80, [0.9, 0.9, 0.9], 0.9).status == "fail"


def test_forgotten_accuracy_of_nothing_has_a_margin_of_one_point() -> None:
    forgotten = next(p for p in PRIMARY if p.key == "accuracy/forget_test")
    for value, status in ((0.0, "pass"), (0.0099, "pass"), (0.0102, "fail")):
        result = judge(
            forgotten, unlearned=value, retrained=[0, 0, 0], original=0.9, samples=N, prior=Prior(1e-3, DEGREES)
        )
        assert result.status == status


def test_at_the_end_of_the_range_there_is_no_room_and_no_fault() -> None:
    told = {"retrained": [1.0, 1.0, 1.0], "original": 1.0, "samples": 100, "prior": None}
    assert (judge(PRIMARY[0], unlearned=1.0, **told).status, judge(PRIMARY[0], unlearned=1.0, **told).gap) == (
        "pass",
        0,
    )  # type: ignore[arg-type]
    nothing = {"retrained": [0.0, 0.0, 0.0], "original": 1.0, "samples": 100, "prior": None}
    assert judge(PRIMARY[1], unlearned=0.0, **nothing).status == "pass"  # type: ignore[arg-type]
    assert judge(PRIMARY[1], unlearned=0.5, **nothing).status == "fail"  # type: ignore[arg-type]


def test_times_are_compared_as_ratios() -> None:
    assert judged(TIME, 100, [80, 80, 80], 5, prior=1e-6).status == "pass"  # log(100/80) = 0.223
    assert judged(TIME, 105, [80, 80, 80], 5, prior=1e-6).status == "fail"  # log(105/80) = 0.272
    assert judged(TIME, 63, [80, 80, 80], 5, prior=1e-6).status == "pass"


def test_what_cannot_tell_the_original_says_nothing() -> None:
    result = judged(PROBE, 0.70, [0.70, 0.70, 0.70], 0.73, prior=1e-6)
    assert result.status == "unknown"
    assert result.why == Doubt("original_too_near")
    assert judged(PROBE, 0.70, [0.70, 0.70, 0.70], 0.75, prior=1e-6).status == "pass"
    assert judged(RETAINED, 0.9, [0.9, 0.9, 0.9], 0.9).status == "pass"  # the accuracies stand without power


def test_outside_the_band_fails_whatever_the_power() -> None:
    """To ask first whether the original is far away made a head mask *unknown* in 60 of 100 draws."""
    assert judged(PROBE, 0.80, [0.70, 0.70, 0.70], 0.73, prior=1e-6).status == "fail"
    unmeasured = judge(PROBE, unlearned=0.80, retrained=[0.7] * 3, original=None, samples=N, prior=Prior(1e-6, DEGREES))
    assert unmeasured.status == "fail"
    assert judged(PROBE, 0.80, [0.70, 0.70], 0.95, prior=0.01).status == "fail"
    lonely = judge(PROBE, unlearned=0.80, retrained=[0.70], original=0.95, samples=N, prior=None)
    assert (lonely.status, lonely.band) == ("unknown", None)  # one model and no bank: no band to be outside of


def test_training_that_fails_on_the_unlearned_model_alone_fails() -> None:
    broken = Doubt("stage_stopped", {"stage": "return unlearned", "loss": "nan", "step": 3})

    def reading(model: str, value: float | None, replicate: int = 0, why: Doubt = broken) -> Reading:
        return Reading(
            metric="return_recovery",
            part="forget_test",
            model=model,  # type: ignore[arg-type]
            replicate=replicate,
            value=value,
            unit="fraction",
            target="match_retrain",
            samples=100,
            doubts=(because(why),) if value is None else (),
        )

    def status(*readings: Reading) -> str:
        judgements = judge_all([*readings, reading("original", 0.8)], None)
        (found,) = [each for each in judgements if each.vote.key == "return_recovery/forget_test"]
        return found.status

    retrained = [reading("retrained", 0.0, i) for i in range(3)]
    assert status(reading("unlearned", None), *retrained) == "fail"
    headless = Doubt("remark", {"text": "Expected one classifier head, but there are several."})
    assert status(reading("unlearned", None, why=headless), *retrained) == "fail"
    assert status(reading("unlearned", None, why=Doubt("needs_forgotten_samples")), *retrained) == "unknown"
    assert status(reading("unlearned", None), *retrained[:2], reading("retrained", None, 2)) == "unknown"
    assert status(reading("unlearned", None), *retrained[:2]) == "unknown"
    for code, values in (
        ("layer_not_finite", {"layer": "features.2"}),
        ("outputs_not_finite", {"part": "forget_test"}),
    ):
        infinite = Doubt(code, values)  # type: ignore[arg-type]
        assert status(reading("unlearned", None, why=infinite), *retrained) == "fail"
        assert status(reading("unlearned", None, why=infinite), reading("original", None), *retrained) == "unknown"


def test_times_that_were_cut_off_have_no_spread_of_their_own() -> None:
    told: dict[str, Any] = {"retrained": [128.0] * 3, "original": 1.0, "samples": None, "censored": True}
    lonely = judge(TIME, unlearned=90.0, prior=None, **told)
    assert (lonely.status, lonely.gap, lonely.band) == ("unknown", None, None)
    assert lonely.why == Doubt("cut_off_without_bank")
    known = judge(TIME, unlearned=90.0, prior=Prior(0.3, DEGREES), **told)  # by a bank that relearned for longer
    assert known.status == "pass"
    assert known.band is not None
    assert known.band[0] < 90 < 128 * math.exp(-TIME.delta)  # the margin alone would have failed it
    assert judge(TIME, unlearned=90.0, prior=None, **{**told, "censored": False}).status == "fail"


@pytest.mark.parametrize("retrained", [[], [0.7], [0.7, 0.71]])
def test_fewer_than_three_retrained_models_resolve_nothing(retrained: list[float]) -> None:
    result = judged(PROBE, 0.7, retrained, 0.95)
    assert result.status == "unknown"
    assert result.why == Doubt("few_retrained", {"needed": 3, "given": len(retrained)})


def test_a_distance_that_one_retrained_model_lacks_says_that_one_came() -> None:
    """There is no reading of it for the model then, so the models are counted over all readings."""
    far = next(vote for vote in PRIMARY if vote.metric == "prediction_tv")

    def one(vote: Vote, model: ModelName, value: float) -> Reading:
        return Reading(
            metric=vote.metric,
            model=model,
            part=vote.part,
            value=value,
            unit="fraction",
            target="match_retrain",
            samples=100,
        )

    readings = [one(vote, model, 0.5) for vote in (far, PROBE) for model in ("original", "unlearned")]
    judged_all = judge_all([*readings, one(PROBE, "retrained", 0.4)], None, [far, PROBE])
    assert [each.why for each in judged_all] == [Doubt("few_retrained", {"needed": 3, "given": 1})] * 2


@pytest.mark.parametrize(
    ("models", "why"),
    [(1, Doubt("few_retrained", {"needed": 3, "given": 1})), (3, Doubt("not_measured"))],
)
def test_where_retrained_models_have_no_value_the_reason_counts_the_models(models: int, why: Doubt) -> None:
    """One model has no distance to the others; three that could not be measured are not too few."""
    assert judge(PROBE, unlearned=0.7, retrained=[], original=0.95, samples=100, prior=None, models=models).why == why


def test_what_was_not_measured_is_unknown() -> None:
    result = judge(PROBE, unlearned=None, retrained=[0.7] * 3, original=0.9, samples=N, prior=Prior(0.1, DEGREES))
    assert result.status == "unknown"


def all_judged(**status: str) -> list[Judged]:
    return [
        Judged(
            vote=p,
            status=status.get(p.family, "pass"),  # type: ignore[arg-type]
            gap=0.5,
            why=Doubt("not_measured") if p.family in status else None,
        )
        for p in PRIMARY
    ]


def test_one_failure_fails() -> None:
    result = verdict(all_judged(relearn="fail"))
    assert result.status == "fail"
    assert result.why == (Doubt("outside_band", {"readings": ["return_recovery/forget_test"]}),)
    assert "relearn" not in result.families_passed


def test_a_pass_needs_representation_and_outputs_or_membership() -> None:
    assert verdict(all_judged()).status == "pass"
    assert verdict(all_judged(outputs="unknown")).status == "pass"
    assert verdict(all_judged(membership="unknown", relearn="unknown")).status == "pass"
    assert verdict(all_judged(representation="unknown")).status == "unknown"
    assert verdict(all_judged(outputs="unknown", membership="unknown")).status == "unknown"


def test_without_data_of_the_class_nothing_passes() -> None:
    assert verdict(all_judged(), forgotten_data=False).status == "unknown"
    assert verdict(all_judged(relearn="fail"), forgotten_data=False).status == "fail"


def test_the_headline_names_the_worst_reading() -> None:
    judgements = all_judged()
    judgements[3] = replace(judgements[3], gap=0.9)
    judgements[4] = replace(judgements[4], status="unknown", gap=7.0)
    result = verdict(judgements)
    assert (result.worst, result.worst_gap) == (PRIMARY[3].key, 0.9)


@pytest.mark.parametrize("cut_off", ["retrained", "unlearned", "original", None])
def test_a_doubt_says_that_a_retrained_model_was_cut_off(cut_off: str | None) -> None:
    values = {"original": [1.0], "unlearned": [80.0], "retrained": [100.0, 110.0, 128.0]}
    readings = [
        Reading(
            metric=TIME.metric,
            model=model,  # type: ignore[arg-type]
            replicate=i,
            value=value,
            unit="steps",
            target="match_retrain",
            doubts=(Doubt("censored", {"steps": 128}),) if (model, i) == (cut_off, len(group) - 1) else (),
        )
        for model, group in values.items()
        for i, value in enumerate(group)
    ]
    (found,) = [each for each in judge_all(readings, None, [TIME]) if each.vote is TIME]
    assert (found.why == Doubt("cut_off_without_bank")) is (cut_off == "retrained")


def test_readings_are_matched_by_metric_part_and_model() -> None:
    readings = []
    for primary in PRIMARY:
        values = {"original": [0.9], "unlearned": [0.5], "retrained": [0.5, 0.5, 0.5]}
        for model, group in values.items():
            for i, value in enumerate(group):
                readings.append(
                    Reading(
                        metric=primary.metric,
                        model=model,  # type: ignore[arg-type]
                        replicate=i,
                        part=primary.part,
                        value={"time": 40 * value, "excess": 5 * value}.get(primary.scale, value),
                        unit="fraction",
                        target="match_retrain",
                        samples=1000,
                    )
                )
    result = judge_all(readings, {p.key: Prior(0.01, DEGREES) for p in PRIMARY})
    assert [j.status for j in result] == ["pass"] * len(PRIMARY)
    assert [j.gap for j in result] == [0] * len(PRIMARY)


def test_a_reading_that_the_bank_lacks_has_no_prior_and_the_others_keep_theirs() -> None:
    readings = [
        Reading(
            metric=vote.metric,
            model=model,  # type: ignore[arg-type]
            replicate=i,
            part=vote.part,
            value=40 * value if vote.scale == "time" else value,
            unit="fraction",
            target="match_retrain",
            samples=1000,
        )
        for vote in PRIMARY
        for model, group in {"original": [0.9], "unlearned": [0.52], "retrained": [0.5, 0.49, 0.53]}.items()
        for i, value in enumerate(group)
    ]
    whole = {vote.key: Prior(0.01, DEGREES) for vote in PRIMARY}
    lacking = {key: s0 for key, s0 in whole.items() if key != PROBE.key}
    with_bank, without_one, without = (judge_all(readings, priors) for priors in (whole, lacking, None))
    for full, part, none in zip(with_bank, without_one, without, strict=True):
        assert part == (none if part.vote is PROBE else full)
        assert none.band != full.band or full.vote.fault != "both"  # a bank makes a difference


def test_the_votes_of_the_registry_share_the_level_and_one_more_widens_every_band() -> None:
    told: dict[str, Any] = {
        "unlearned": 0.5,
        "retrained": [0.5, 0.48, 0.52],
        "original": 0.9,
        "samples": N,
        "prior": Prior(0.1, DEGREES),
    }
    count = len(PRIMARY)
    usual, wider = judge(PROBE, **told), judge(PROBE, **told, votes=count + 1)
    assert usual == judge(PROBE, **told, votes=count)
    assert usual.band is not None
    assert wider.band is not None
    assert wider.band[0] < usual.band[0] < usual.band[1] < wider.band[1]


def test_a_metric_from_elsewhere_votes_with_the_others() -> None:
    def halves(evidence: Evidence) -> list[Reading]:
        values = {"original": 0.9, "unlearned": 0.9, "retrained": 0.5}
        return [
            Reading(
                metric="halves",
                model=model.name,
                replicate=model.replicate,
                value=values[model.name],
                unit="fraction",
                target="match_retrain",
                samples=1000,
                doubts=(Doubt("remark", {"text": "of a half"}),),
            )
            for model in evidence.subjects
        ]

    metric = Metric(
        fn=halves,
        readings=("halves",),
        wants=frozenset(),
        votes=(Vote(metric="halves", family="outputs", scale="proportion", delta=0.02),),
    )
    models = [Subject(name="original"), Subject(name="unlearned")]
    models += [Subject(name="retrained", replicate=i) for i in range(3)]
    result = audit(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]), {"halves": metric})
    assert result.votes == (*(vote.key for vote in PRIMARY), "halves")
    assert result.verdict.why == (Doubt("outside_band", {"readings": ["halves"]}),)
    (unlearned,) = [reading for reading in result.readings if reading.model == "unlearned"]
    assert (unlearned.verdict, unlearned.doubts) == ("fail", (Doubt("remark", {"text": "of a half"}),))


@pytest.mark.slow
def test_a_fresh_seed_passes_about_95_times_in_100() -> None:
    """Independent normal readings on their scales; k = 3, the bank's deviation estimated from 9 models."""
    random = np.random.default_rng(0)
    runs, passed = 2500, 0
    time = [replace(TIME, delta=0.0)] * len(PRIMARY)
    for _ in range(runs):
        ok = True
        for primary in time:
            prior = float(np.std(random.normal(0, 0.2, DEGREES + 1), ddof=1))
            values = np.exp(random.normal(3.0, 0.2, 4))
            result = judged(primary, float(values[0]), [float(v) for v in values[1:]], 1e9, prior)
            ok &= result.status == "pass"
        passed += ok
    assert 0.935 < passed / runs < 0.965, passed / runs


def test_the_ends_of_the_range_come_back_exactly() -> None:
    scale = Scale(kind="proportion", samples=857)
    assert [scale.back(scale.to(value)) for value in (0.0, 1.0)] == [0.0, 1.0]


def test_a_prior_of_few_degrees_is_the_formula_too() -> None:
    """With scipy's quantile of a t distribution of 2.5 + 2 degrees of freedom."""
    points = [logit(x) for x in (0.70, 0.72, 0.75)]
    pooled = math.sqrt((2.5 * 0.3**2 + 2 * np.var(points, ddof=1)) / 4.5)
    half = scipy.stats.t.ppf(1 - 0.05 / (2 * len(PRIMARY)), 4.5) * pooled * math.sqrt(4 / 3)
    told: dict[str, Any] = {"retrained": [0.70, 0.72, 0.75], "original": 0.9999, "samples": N}
    result = judge(PROBE, unlearned=0.8, prior=Prior(0.3, 2.5), **told)
    assert result.band is not None
    assert logit(result.band[1]) == pytest.approx(np.mean(points) + half, rel=1e-6)


def test_the_number_of_models_that_would_settle_it_is_the_first_that_does() -> None:
    """With the pooled spread as it is, one model fewer leaves the original within two bands, by the formula itself."""
    retrained, prior = [0.70, 0.72, 0.75], Prior(0.1, 4.0)
    points = [logit(x) for x in retrained]
    pooled = math.sqrt((4 * 0.1**2 + 2 * np.var(points, ddof=1)) / 6)

    def away(k: int) -> float:
        return float(
            POWER * scipy.stats.t.ppf(1 - 0.05 / (2 * len(PRIMARY)), 4 + k - 1) * pooled * math.sqrt(1 + 1 / k)
        )

    scale = Scale(kind="proportion", samples=N)
    for enough, why in (
        (4, Doubt("one_more_retrained_settles")),
        (5, Doubt("more_retrained_settle", {"more": 2})),
        (MOST_ASKED, Doubt("more_retrained_settle", {"more": MOST_ASKED - 3})),
        (MOST_ASKED + 1, Doubt("original_too_near")),
    ):
        original = scale.back(float(np.mean(points)) + (away(enough) + away(enough - 1)) / 2)
        told: dict[str, Any] = {"retrained": retrained, "original": original, "samples": N, "prior": prior}
        result = judge(PROBE, unlearned=0.72, **told)
        assert (result.status, result.why) == ("unknown", why)


def test_no_number_of_models_settles_what_lies_within_two_margins() -> None:
    assert settling(0.19, 0.1, 1e-9, 0.0, given=3, votes=8) is None
    assert settling(0.2, 0.1, 1e-9, 0.0, given=3, votes=8) == 4
    assert judged(PROBE, 0.70, [0.70, 0.70, 0.70], 0.73, prior=1e-6).why == Doubt("original_too_near")


def test_a_relative_prior_is_in_units_of_the_binomial_deviation() -> None:
    """Fewer samples, or a share near the end, make the same relative spread wider; by the delta method."""
    told: dict[str, Any] = {"retrained": [0.7, 0.7, 0.7], "original": 0.9999}
    for samples in (36, 1000):
        unit = math.sqrt(1 / (0.7 * samples + 0.5) + 1 / (0.3 * samples + 0.5))
        relative = judge(PROBE, unlearned=0.7, samples=samples, prior=Prior(2.0, 4.0, relative=True), **told)
        absolute = judge(PROBE, unlearned=0.7, samples=samples, prior=Prior(2.0 * unit, 4.0), **told)
        assert relative.band == pytest.approx(absolute.band)
    assert Scale(kind="time", samples=0).unit(3.0) == Scale(kind="distance", samples=9).unit(3.0) == 1.0
    assert Scale(kind="excess", samples=99).unit(7.0) == pytest.approx(math.sqrt(2 / 50))


def test_the_unit_is_the_spread_of_a_binomial_proportion_on_its_scale() -> None:
    scale, random = Scale(kind="proportion", samples=400), np.random.default_rng(0)
    points = [scale.to(x / 400) for x in random.binomial(400, 0.8, 20_000)]
    assert scale.unit(scale.to(0.8)) == pytest.approx(np.std(points), rel=0.03)


def test_the_spread_of_mean_distances_is_corrected_for_shared_pairs() -> None:
    distance = next(p for p in PRIMARY if p.pairwise)
    told: dict[str, Any] = {"retrained": [0.2, 0.25, 0.3], "original": 30.0, "samples": N, "prior": None}
    plain = judge(replace(distance, pairwise=False, delta=0.0), unlearned=0.25, **told)
    paired = judge(replace(distance, delta=0.0), unlearned=0.25, **told)
    assert plain.band is not None
    assert paired.band is not None
    mean = np.mean(np.log([0.2, 0.25, 0.3]))
    assert math.log(paired.band[1]) - mean == pytest.approx(2 * (math.log(plain.band[1]) - mean))


@pytest.mark.parametrize("vote", PRIMARY, ids=lambda vote: vote.key)
@pytest.mark.parametrize("unlearned", [0.0, 0.4, 1.0])
def test_every_band_is_finite_or_open_and_holds_what_passes(vote: Vote, unlearned: float) -> None:
    result = judge(vote, unlearned=unlearned, retrained=[0.3, 0.5], original=0.9, samples=N, prior=None)
    assert result.band is not None
    assert result.gap is not None
    open_end = {"low": 1, "high": 0, "both": None}[vote.fault] if vote.scale == "excess" else None  # no range, no end
    assert [end is None for end in result.band] == [i == open_end for i in (0, 1)]
    low, high = (beyond if end is None else end for end, beyond in zip(result.band, (-math.inf, math.inf), strict=True))
    assert math.isfinite(low) or open_end == 0
    assert math.isfinite(high) or open_end == 1
    assert (low <= unlearned <= high) == (result.gap <= 1)


def test_few_models_that_agree_on_few_rows_fail_nobody_for_two_of_them() -> None:
    (vote,) = [each for each in votes_for(ROWS) if each.key == "accuracy/forget_train"]
    told: dict[str, Any] = {"retrained": [0.95] * 5, "original": 1.0, "prior": None, "votes": len(votes_for(ROWS))}
    assert judge(vote, unlearned=0.85, samples=20, **told).status == "unknown"
    assert judge(vote, unlearned=0.75, samples=20, **told).status == "fail"
    assert judge(vote, unlearned=0.85, samples=2000, **told).status == "fail"


def test_rows_that_nobody_learned_by_heart_are_said_to_leave_nothing_to_find() -> None:
    votes = [
        Judged(vote=vote, status="unknown", why=Doubt("original_too_near"))
        for vote in votes_for(ROWS)
        if vote.family in ("membership", "outputs")
    ]
    readings = [
        Reading(
            metric="accuracy",
            model=model,
            value=value,
            unit="fraction",
            target="match_retrain",
            part="forget_train",
            samples=20,
        )
        for model, value in (("original", 0.95), ("unlearned", 0.9), ("retrained", 0.9))
    ]
    (said,) = without_power(readings, votes)
    assert (said.code, dict(said.values)) == ("rows_without_power", {"n": 20, "original": 0.95, "retrained": 0.9})
    assert without_power(readings, [replace(votes[0], status="pass", why=None), *votes[1:]]) == ()
