"""Config: frozen, checked, and changed by NAME=VALUE settings."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from unlearnkit.config import Config
from unlearnkit.errors import ConfigError
from unlearnkit.methods.registry import make_method


class Inner(Config):
    """A group of settings."""

    rate: float = Field(default=0.1, gt=0, description="how fast")
    count: int = Field(default=3, ge=1, description="how many")


class Outer(Config):
    """Settings of every kind."""

    inner: Inner = Inner()
    switched: Inner | None = Inner()
    limit: int | None = Field(default=None, gt=0, description="none: no limit")
    kind: Literal["warm", "cold"] = Field(default="warm", description="which")
    on: bool = Field(default=True, description="whether")


def test_settings_are_applied_to_a_copy() -> None:
    base = Outer()
    changed = base.with_settings(["inner.rate=0.5", " limit = 7 ", "kind=cold", "on=false", "switched.count=9"])
    assert (changed.inner.rate, changed.limit, changed.kind, changed.on) == (0.5, 7, "cold", False)
    assert changed.switched is not None
    assert changed.switched.count == 9
    assert changed.inner.count == 3
    assert base == Outer()


def test_the_last_of_two_settings_counts() -> None:
    assert Outer().with_settings(["limit=1", "limit=2"]).limit == 2


@pytest.mark.parametrize("word", ["none", "None", " NONE "])
def test_none_switches_off(word: str) -> None:
    changed = Outer(limit=3).with_settings([f"switched={word}", f"limit={word}"])
    assert changed.switched is None
    assert changed.limit is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["limit"], "Expected NAME=VALUE, but got 'limit'"),
        ([""], "Expected NAME=VALUE, but got ''"),
        (["inner.rat=1"], r"'inner.rat', which is unknown; did you mean inner\.rate"),
        (["qqqq=1"], "the settings are inner.rate, inner.count, switched.rate, switched.count, limit, kind, on"),
        (["=1"], "got '', which is unknown"),
        (["limit.deep=1"], "'limit.deep'|'limit' to be on"),
        (["kind.deep=1"], "'kind.deep', which is unknown"),
        (["inner.rate.deep=1"], "'inner.rate.deep', which is unknown"),
        (["inner=5"], "group 'inner', but got 'inner=5'; set one of inner.rate, inner.count"),
        (["switched=none", "switched.rate=1"], "the group 'switched' to be on where 'switched.rate' is set"),
        (["inner.rate=0"], "'inner.rate' of Outer .*'0'; input should be greater than 0"),
        (["inner.rate=-1"], "'inner.rate' of Outer .*greater than 0"),
        (["inner.rate=nan"], "'inner.rate' of Outer .*finite number"),
        (["inner.rate=inf"], "'inner.rate' of Outer .*finite number"),
        (["inner.rate=fast"], "'inner.rate' of Outer .*'fast'.*number"),
        (["inner.count=1.5"], "'inner.count' of Outer .*'1.5'.*integer"),
        (["inner.count=none"], "'inner.count' of Outer .*None.*integer"),
        (["inner=none"], "'inner' of Outer .*None"),
        (["limit=0"], "'limit' of Outer .*greater than 0"),
        (["kind=hot"], "'kind' of Outer .*'warm' or 'cold'"),
        (["on=perhaps"], "'on' of Outer .*'perhaps'"),
        (["model_config=1"], "'model_config', which is unknown"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Outer().with_settings(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"limit": 0}, "'limit' of Outer .*got 0"),
        ({"limits": 1}, "Outer has no setting 'limits'"),
        ({"kind": "hot"}, "'kind' of Outer"),
        ({"inner": {"rate": -1}}, "'rate' of Inner"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_the_constructor(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Outer(**values)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer().limit = 3  # type: ignore[misc]


def test_every_setting_is_named_and_described() -> None:
    names = ["inner.rate", "inner.count", "switched.rate", "switched.count", "limit", "kind", "on"]
    assert Outer().setting_names() == names
    described = Outer(switched=None).described_settings()
    assert [d["name"] for d in described] == ["inner.rate", "inner.count", "switched", "limit", "kind", "on"]
    assert described[0] == {"name": "inner.rate", "value": 0.1, "description": "how fast"}


@given(st.lists(st.text(max_size=12), max_size=3))
def test_any_setting_is_taken_or_a_named_error(settings: list[str]) -> None:
    try:
        assert isinstance(Outer().with_settings(settings), Outer)
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - no error is fine as well


@pytest.mark.parametrize(
    ("method", "preset", "words"),
    [("amnesiac", "default", "methods .*unsir.*'amnesiac'"), ("unsir", "papper", "presets default, paper.*'papper'")],
)
def test_an_unknown_method_or_preset_lists_the_known_ones(method: str, preset: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_method(method, preset)


@pytest.mark.parametrize(
    "setting",
    [
        "retain_per_class=0",
        "noise.batch_size=0",
        "noise.steps=0",
        "noise.steps=2.5",
        "noise.lr=0",
        "noise.lr=nan",
        "noise.penalty=-1",
        "noise.repeats=-1",
        "impair.lr=-1",
        "impair.epochs=0",
        "impair.batch_size=-4",
        "repair.lr=inf",
        "repair.epochs=0",
        "repair.batch_size=many",
    ],
)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_settings_of_unsir_out_of_range_are_refused_by_name(preset: str, setting: str) -> None:
    name, _, value = setting.partition("=")
    with pytest.raises(ConfigError, match=f"setting '{name}' of UNSIR to fit its range, but got '{value}'"):
        make_method("unsir", preset, [setting])


def test_none_switches_the_search_off() -> None:
    assert make_method("unsir", "default", ["search=none"]).search is None
