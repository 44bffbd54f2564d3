"""A method's settings: what is refused says which setting it is, and a configuration cannot be changed."""

from __future__ import annotations

import pytest

from unlearnkit import methods
from unlearnkit.errors import ConfigError
from unlearnkit.methods import UNSIR
from unlearnkit.methods.registry import _by_name, make_method

BAD_SETTINGS = [
    "retain_per_class=0",
    "retain_per_class=x",
    "noise.batch_size=0",
    "noise.steps=-1",
    "noise.lr=0",
    "noise.penalty=-0.1",
    "noise.repeats=0",
    "impair.lr=-1",
    "impair.lr=nan",
    "impair.lr=inf",
    "impair.lr=1e10",
    "noise.lr=1e10",
    "impair.epochs=0",
    "impair.epochs=1.5",
    "impair.batch_size=0",
    "impair.optimizer=lbfgs",
    "repair.lr=0",
    "repair.schedule=sometimes",
    "repair.distill=perhaps",
    "search.factor=1",
    "search.attempts=0",
    "search.tolerance=-0.1",
    "rounds=0",
    "impair=2",
    "impair.lr.deep=2",
    "unheard_of=1",
    "impair.unheard_of=1",
    "impair.lr",
]


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_a_bad_setting_is_a_config_error_that_names_it(setting: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_method("unsir", "default", [setting])
    assert setting.partition("=")[0].split(".")[-1] in str(error.value)


@pytest.mark.parametrize(("name", "preset"), [("unsr", "default"), ("unsir", "papr")])
def test_an_unknown_method_or_preset_lists_the_known_ones(name: str, preset: str) -> None:
    with pytest.raises(ConfigError, match=r"unsir|paper"):
        make_method(name, preset)


def test_a_configuration_is_frozen_and_takes_no_positional_argument() -> None:
    with pytest.raises(Exception, match="frozen"):
        UNSIR().rounds = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        UNSIR(3)  # type: ignore[call-arg]


def test_a_method_is_known_by_its_name_and_two_cannot_share_one() -> None:
    assert all(name == kind.name for name, kind in methods.METHODS.items())
    with pytest.raises(ConfigError, match="UNSIR and UNSIR are both named 'unsir'"):
        _by_name(UNSIR, UNSIR)
