"""What may be tuned: the spaces of the methods, settings that stay fixed, and requests that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from canonical import CLASSES, CPU, tiny_data
from tuned_runs import PER_CLASS, Brightness, Dial, search
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.methods import UNSIR, ConfiguredMethod, HeadMask, NegGrad, Retrain
from unlearnkit.methods.registry import METHODS, make_method
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part
from unlearnkit.tuning import Tuned, tune
from unlearnkit.tuning.scoring import Signal


def test_every_space_fits_its_method_and_holds_its_defaults() -> None:
    spaces = {name: kind().space() for name, kind in METHODS.items()}
    assert {name for name, space in spaces.items() if not space} == {"auto", "retrain", "original", "head-mask"}
    for name, kind in METHODS.items():
        assert len(spaces[name]) <= 4, name
        for preset, make in kind.presets().items():
            given = {setting["name"]: setting["value"] for setting in make().described_settings()}
            for setting, bounds in make().space().items():
                for value in (bounds.low, bounds.high):
                    make().with_settings([f"{setting}={value}"])
                value = given[setting]
                inside = value is None or bounds.low <= value <= bounds.high
                assert inside or preset != "default", (name, setting, value)
                assert bounds.whole == isinstance(value, int) or value is None, (name, setting)


def test_a_setting_that_is_off_is_not_tuned() -> None:
    assert "ceiling" not in make_method("neggrad", "paper").space()
    assert "ratio" not in make_method("ssd", "paper").space()


def test_names_that_stay_fixed_must_be_settings() -> None:
    with pytest.raises(ConfigError, match="'strenght', which is unknown; did you mean strength"):
        search(fixed=["strenght"])
    assert search(UNSIR(retain_per_class=4), trials=2, fixed=["impair", "search.attempts"]).space


def test_what_cannot_be_tuned_is_refused() -> None:
    for method in (Retrain(), HeadMask()):
        with pytest.raises(ConfigError, match="no setting to tune"):
            search(method)
    with pytest.raises(ConfigError, match="all that could be tuned is given"):
        search(fixed=["strength"])
    with pytest.raises(ConfigError, match=r"two trials or more.* got 1"):
        search(trials=1)
    with pytest.raises(ConfigError, match="no test data, but it reads forget_test"):
        search(Dial(reads=Part.FORGET_TEST))
    with pytest.raises(ConfigError, match="seed"):
        search(seed=-1)


def test_data_that_are_not_there_are_missed_at_once() -> None:
    gone = tiny_data(classes=CLASSES[:3], per_class=PER_CLASS).with_classes(CLASSES)
    request = ForgetRequest(classes=("dog",))

    def start(method: ConfiguredMethod, **options: Any) -> Tuned:
        return tune(Brightness(), method, gone, request, trials=2, seed=0, runtime=CPU, **options)

    with pytest.raises(DataError, match="forget_train, which neggrad reads") as refused:
        start(NegGrad())
    proposed = str(refused.value).partition("does without (")[2]
    assert "unsir, erase, shrink-distill, finetune" in proposed
    assert "retrain" not in proposed  # there is nothing to tune
    with pytest.raises(DataError, match="forget_train to tune by"):
        start(Dial(), look_at_forgotten=True)
    assert not gone.train.decoded.any()
    assert start(Dial()).signal is Signal.INVERTED  # a class whose data are gone can be tuned for
    with pytest.raises(DataError, match="retain_val to tune by"):
        search(data=tiny_data(per_class=1))
