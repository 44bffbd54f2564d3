"""Controls of the audit of rows, on digits of which some were learned by heart under random labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from row_power import CPU, WITHOUT_TRAINING, RowJudge, judge_for, memorised, trained
from unlearnkit.audit import METRICS, Audit, audit, gather
from unlearnkit.audit.metric import EVERY_KIND, ROWS
from unlearnkit.audit.metrics.registry import PRIMARY, votes_for
from unlearnkit.audit.observe.relearning import goal_parts
from unlearnkit.audit.verdict import judge as judge_one
from unlearnkit.methods import FineTune, unlearn
from unlearnkit.request import CLASSES, ForgetRequest
from unlearnkit.split import Part, split_for
from unlearnkit.training.recipe import Recipe

COUNT = 60
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("row controls")]  # one process trains and looks at the models


@pytest.fixture(scope="module")
def judge() -> RowJudge:
    data, request = memorised(COUNT, random_labels=True)
    return judge_for(data, request, retrained=5, metrics=WITHOUT_TRAINING)


def verdicts(found: Audit) -> dict[str, str | None]:
    return {f"{r.metric}/{r.part}": r.verdict for r in found.readings if r.model == "unlearned" and r.verdict}


def test_the_original_fails_on_memorised_rows(judge: RowJudge) -> None:
    found = judge(judge.original)
    assert found.verdict.status == "fail"
    said = verdicts(found)
    assert said["accuracy/forget_train"] == said["membership_auc_rmia/None"] == "fail"
    assert said["margin_distance/forget_train"] == "fail"
    assert [notice.code for notice in found.notices] == ["not_forgotten_retrained"]
    assert found.tier == "E3"


def test_a_model_retrained_with_another_seed_passes(judge: RowJudge) -> None:
    found = judge(trained(judge.data, judge.request, seed=99))
    assert found.verdict.status == "pass", found.verdict
    assert {"membership", "outputs"} <= set(found.verdict.families_passed)
    assert not found.notices


def test_fine_tuning_alone_is_caught(judge: RowJudge) -> None:
    method = FineTune(recipe=Recipe(epochs=2, batch_size=128, lr=0.01))
    tuned = unlearn(judge.original, method, judge.data, judge.request, seed=0, runtime=CPU).model
    assert judge(tuned).verdict.status == "fail"


def test_too_little_known_of_the_rows_is_a_mark_too() -> None:
    """A retrained model knows most ordinary rows: none of them right is as telling as what the original knows."""
    (vote,) = [each for each in votes_for(ROWS) if each.key == "accuracy/forget_train"]
    told = {"retrained": [0.9, 0.93, 0.92, 0.91, 0.93], "samples": 60, "prior": None, "votes": len(votes_for(ROWS))}
    assert judge_one(vote, unlearned=0.1, original=1.0, **told).status == "fail"  # type: ignore[arg-type]
    # an original that is no better on the rows than anyone tells nothing, and clears nobody
    assert judge_one(vote, unlearned=0.92, original=0.93, **told).status == "unknown"  # type: ignore[arg-type]


def test_classes_and_rows_at_once_are_not_judged(judge: RowJudge) -> None:
    mixed = ForgetRequest(
        classes=("7",), rows=tuple(r for r in judge.request.rows if int(judge.data.train.labels[r]) != 7)
    )
    split = split_for(mixed, judge.data)
    models: dict[str, nn.Module] = {"original": judge.original, "unlearned": judge.original}
    metrics = {name: METRICS[name] for name in ("accuracy", "sample_membership", "class_membership")}
    evidence = gather(models, judge.data, split, metrics=metrics.values(), seed=0, runtime=CPU)  # type: ignore[arg-type]
    found = audit(evidence, metrics)
    assert (found.verdict.status, [why.code for why in found.verdict.why]) == ("unknown", ["mixed_request"])
    assert found.votes == ("accuracy/retain_test",)


def test_what_is_about_a_class_drops_out_for_rows() -> None:
    assert [vote.key for vote in votes_for(ROWS)] == [
        "accuracy/retain_test",
        "accuracy/forget_train",
        "activation_distance/forget_train",
        "margin_distance/forget_train",
        "membership_auc_rmia",
        "return_recovery/forget_train",
    ]
    of_classes = {name for name, metric in METRICS.items() if not metric.kinds >= ROWS}
    assert {"class_membership", "class_recovery", "knn_recovery", "relearn_time", "few_shot_recovery"} <= of_classes
    assert all(metric.kinds in (CLASSES, EVERY_KIND) for metric in METRICS.values())
    assert not [vote.key for vote in PRIMARY if vote.part is Part.FORGET_TRAIN]


def test_what_comes_back_is_measured_on_the_rows_themselves(judge: RowJudge) -> None:
    assert goal_parts(judge.split.request) == (Part.FORGET_TRAIN, Part.RETAIN_TEST)
    assert goal_parts(replace(judge.split.request, forget=(1,), rows=())) == (Part.FORGET_TEST, Part.RETAIN_TEST)
