"""Every registered metric has an example in its docstring that runs as it stands there."""

from __future__ import annotations

import doctest
import importlib

import pytest

from unlearnkit.audit import evidence
from unlearnkit.audit.metrics.registry import METRICS

MODULES = sorted({metric.fn.__module__ for metric in METRICS.values()} | {evidence.__name__, "unlearnkit.audit.doubts"})


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_an_example_that_shows_it(name: str) -> None:
    function = METRICS[name].fn
    examples = doctest.DocTestParser().get_examples(function.__doc__ or "")
    assert 3 <= len(examples) <= 8
    assert any(f"{function.__name__}(" in example.source for example in examples)
    assert examples[-1].want


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
