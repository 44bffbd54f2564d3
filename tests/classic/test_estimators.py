"""All estimators: scikit-learn's checks, rows that cannot be forgotten, settings, and what is held afterwards."""

from __future__ import annotations

import doctest
import importlib
import pickle
import pkgutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import unlearnkit.classic
from unlearnkit.classic import (
    CertifiedLogisticRegression,
    DareForestClassifier,
    DCKMeans,
    QKMeans,
    SummedNaiveBayes,
    SummedRidge,
    Unlearner,
)
from unlearnkit.errors import ConfigError, DataError, RequestError

ESTIMATORS = [
    DareForestClassifier(n_estimators=4, max_depth=4, random_layers=1),
    QKMeans(n_clusters=3, iterations=5),
    DCKMeans(n_clusters=3, parts=3, iterations=5),
    SummedNaiveBayes(),
    SummedRidge(),
    CertifiedLogisticRegression(),
]
MODULES = [name for _, name, _ in pkgutil.walk_packages(unlearnkit.classic.__path__, "unlearnkit.classic.")]


@parametrize_with_checks(ESTIMATORS)
def test_what_scikit_learn_expects(estimator: Any, check: Any) -> None:
    check(estimator)


def fitted(estimator: Unlearner, rows: int = 60) -> Any:
    """The estimator fitted to small counts, among them a row of values that no other has."""
    rng = np.random.default_rng(0)
    features = rng.integers(0, 8, (rows, 4)).astype(float)
    features[7] = [137.25, 139.25, 141.25, 143.25]
    return clone(estimator).fit(features, rng.integers(0, 3, rows))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
def test_rows_keep_their_numbers_and_what_was_forgotten_is_held_nowhere(estimator: Unlearner) -> None:
    model = fitted(estimator)
    values = [np.float64(value).tobytes() for value in (137.25, 139.25, 141.25, 143.25)]
    assert any(value in pickle.dumps(model) for value in values), "the check sees what is held"
    assert model.unlearn([3]) is model
    assert model.unlearn(np.array([59, 7])) is model
    assert model.rows_.tolist() == [row for row in range(60) if row not in (3, 7, 59)]
    assert not any(value in pickle.dumps(model) for value in values)
    assert np.isfinite(model.predict(np.ones((2, 4)))).all()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([60], "Expected rows between 0 and 59, but got 60; see rows_."),
        ([-1], "Expected rows between 0 and 59, but got -1; see rows_."),
        ([1, 4, 1], "Expected each row once, but got 1 several times; name it once."),
        ([5, 9], "Expected rows that are not forgotten yet, but got 9 again; leave it out."),
        ([0.0], "Expected a sequence of row numbers, but got float64 of shape (1,); a mask becomes numbers by"),
        (np.ones(60, dtype=bool), "Expected a sequence of row numbers, but got bool of shape (60,)"),
        (3, "Expected a sequence of row numbers, but got int64 of shape ()"),
        ([], "Expected a sequence of row numbers, but got float64 of shape (0,)"),
        ([row for row in range(60) if row != 9], "rows to be left, but 0 would be; forget fewer, or delete the model."),
    ],
)
def test_rows_that_cannot_be_forgotten_change_nothing(rows: Any, said: str) -> None:
    for estimator in ESTIMATORS:
        model = fitted(estimator).unlearn([9])
        before = pickle.dumps(model)
        with pytest.raises(RequestError) as caught:
            model.unlearn(rows)
        assert said in str(caught.value)
        assert pickle.dumps(model) == before


def test_clusters_need_as_many_rows() -> None:
    with pytest.raises(RequestError, match="at least 3 of the fitted rows to be left, but 2 would be"):
        fitted(QKMeans(3)).unlearn(range(2, 60))


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (DareForestClassifier(0), "n_estimators to be a whole number of at least 1, but got 0"),
        (DareForestClassifier(True), "n_estimators to be a whole number of at least 1, but got True"),
        (DareForestClassifier(max_depth=500), "max_depth to be a whole number between 1 and 200, but got 500"),
        (DareForestClassifier(criterion="log"), "criterion to be one of gini, entropy, but got 'log'"),  # type: ignore[arg-type]
        (DareForestClassifier(max_features="log2"), "max_features to be one of sqrt, but got 'log2'"),  # type: ignore[arg-type]
        (DareForestClassifier(max_features=0), "max_features to be a whole number of at least 1, but got 0"),
        (DareForestClassifier(thresholds=0), "thresholds to be a whole number of at least 1, but got 0"),
        (DareForestClassifier(random_layers=-1), "random_layers to be a whole number of at least 0, but got -1"),
        (DareForestClassifier(min_samples_split=1), "min_samples_split to be a whole number of at least 2"),
        (QKMeans(0), "n_clusters to be a whole number of at least 1, but got 0"),
        (QKMeans(step=0.0), "step to be a number above 0, but got 0.0"),
        (QKMeans(step=float("nan")), "step to be a number above 0, but got nan"),
        (QKMeans(balance=-0.1), "balance to be a number of at least 0, but got -0.1"),
        (QKMeans(iterations=0), "iterations to be a whole number of at least 1, but got 0"),
        (DCKMeans(parts=0), "parts to be a whole number of at least 1, but got 0"),
        (SummedNaiveBayes(alpha=0), "alpha to be a number above 0, but got 0"),
        (SummedRidge(alpha=-1), "alpha to be a number above 0, but got -1"),
        (CertifiedLogisticRegression(sigma=0), "sigma to be a number above 0, but got 0"),
        (CertifiedLogisticRegression(epsilon=3), "epsilon of at most 2.197 and delta below 1, but got 3 and 0.0001"),
        (CertifiedLogisticRegression(delta=1), "epsilon of at most 2.197 and delta below 1, but got 1.0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(estimator: Unlearner, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fitted(estimator)
    assert str(caught.value).startswith("Expected ")
    assert said in str(caught.value)


def test_features_that_are_too_large_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"for a step of 0[.]1, so that sums are exact, but got 1e[+]12; scale them, or"
    ):
        QKMeans(2).fit(np.array([[1e12], [0.0], [1.0]]))
    with pytest.raises(DataError, match="rounding has made it singular; scale the features"):
        SummedRidge(alpha=1e-30).fit(np.array([[1e9, 1e9], [1e9, 1e9], [1.0, 1.0]]), [1.0, 2.0, 3.0])


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_are_right(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.slow
def test_no_torch_is_loaded_and_the_list_of_names_is_whole() -> None:
    script = "import sys, unlearnkit.classic as c; print('torch' in sys.modules, set(c.__all__) - {*dir(c)})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False {'CertifiedLogisticRegression'}\n"
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        unlearnkit.classic.Missing  # noqa: B018
