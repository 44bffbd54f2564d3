"""The search for a rate in fine-tuning, L1-sparse and NegGrad+: a few steps find a rate that destroys a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from canonical import CPU
from unlearnkit.methods import ConfiguredMethod, FineTune, L1Sparse, NegGradPlus, unlearn
from unlearnkit.methods.choice import RECOMMENDED
from unlearnkit.methods.common.rate_search import TRIAL
from unlearnkit.methods.registry import METHODS
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part
from unsir_runs import digits_model

SEARCHING = [FineTune, L1Sparse, NegGradPlus]
BRIEF = ["recipe.epochs=1", "recipe.lr=30", "retain_per_class=40", "search.factor=0.05", "search.steps=3"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEARCHING)
def test_a_rate_that_destroys_the_model_is_lowered_before_a_whole_run(
    kind: type[ConfiguredMethod], narrow_run: Path
) -> None:
    model, data = digits_model(narrow_run)
    method = kind().with_settings([*BRIEF, "search.attempts=1"])
    result = unlearn(model, method, data, ForgetRequest(classes=("3",)), seed=0, runtime=CPU)
    notes = result.notes["search"]
    assert len(notes["trials"]) > 1
    assert notes["attempts"][0]["factor"] == notes["trials"][-1]["factor"] < 1
    assert notes["attempts"][0]["accuracy"] > (notes["trials"][0]["accuracy"] or 0)
    batches = result.cost["stages"][TRIAL]["samples_backward"] / len(notes["trials"])
    assert batches <= 3 * 256


@pytest.mark.parametrize("kind", SEARCHING)
def test_published_settings_are_not_searched(kind: type[ConfiguredMethod]) -> None:
    published = kind.presets()["paper"]()
    assert published.model_dump()["search"] is None
    assert Part.RETAIN_VAL not in published.needs
    assert Part.RETAIN_VAL in kind().needs
    assert kind().with_settings(kind().for_tuning()).model_dump()["search"] is None


def test_what_is_recommended_reads_no_forgotten_sample_and_is_no_control() -> None:
    kind = METHODS[RECOMMENDED]
    assert not kind.control
    assert not any(part.forgotten for part in kind().needs)
