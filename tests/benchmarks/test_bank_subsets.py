"""The readings of subsets that `check_prior.py` computes from banks: over all models they are the committed ones."""

from __future__ import annotations

import json

import pytest

from bank_settings import SETTINGS
from bank_subsets import Measured, measured_banks
from check_prior import draws, judged_as, rows
from make_bank import written
from train_references import REFERENCES
from unlearnkit.audit.bank import banks
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.observe.relearning import CAP

MEASURED = measured_banks()
NAMES = [setting.bank.name for setting in MEASURED]


def test_every_bank_is_of_a_setting_of_the_table() -> None:
    assert {bank.name for bank in banks()} == set(NAMES) <= set(SETTINGS)
    for setting in MEASURED:
        assert setting.bank.models == SETTINGS[setting.bank.name].models
        assert setting.bank.model == SETTINGS[setting.bank.name].model
    assert all((REFERENCES / s.references).is_file() for s in SETTINGS.values() if s.references is not None)


@pytest.mark.parametrize("setting", MEASURED, ids=NAMES)
def test_over_all_models_the_readings_are_those_of_the_audit(setting: Measured) -> None:
    for vote in PRIMARY:
        reading = setting.content["readings"][vote.key]
        stored = {str(i): value for i, value in enumerate(reading["values"])} | reading["controls"]
        for model, value in stored.items():
            cut = min(value, CAP) if vote.scale == "time" else value
            assert setting.value(vote, model, setting.retrained) == pytest.approx(cut, abs=1e-7), (vote.key, model)


@pytest.mark.parametrize("setting", MEASURED, ids=NAMES)
def test_the_original_and_its_head_mask_are_told_from_all_retrained_models(setting: Measured) -> None:
    priors = {vote.key: setting.own_prior(vote, setting.retrained) for vote in PRIMARY}
    assert judged_as(setting, "original", setting.retrained, priors)[0] == "fail"


def test_draws_are_all_there_are_or_as_many_as_asked_for() -> None:
    setting = MEASURED[0]
    few = draws(setting, 3, 50)
    assert len(few) == len(set(few)) == 50
    assert few == draws(setting, 3, 50)
    whole = draws(setting, setting.bank.models - 1, 50)
    assert len(whole) == setting.bank.models
    assert all(fresh not in references for references, fresh in [*few, *whole])


@pytest.mark.slow
def test_a_row_says_what_became_of_the_draws() -> None:
    found = list(rows(MEASURED[:4], 2))
    assert len(found) == 4 * 4 * 3
    for row in found:
        assert sum(row["fresh"].values()) == pytest.approx(1)
        assert all(0 <= share <= 1 for share in row["caught"].values())


def test_lists_of_a_bank_stand_on_one_line() -> None:
    content = {"name": "x", "readings": {"a": {"values": [0.5, 1.0], "of": ["b, [c]", "d"]}}, "none": []}
    text = written(content)
    assert json.loads(text) == content
    assert '"values": [ 0.5, 1.0 ]' in text
