"""Ridge, naive Bayes and logistic regression: what `unlearn` gives, beside scikit-learn's fit without the rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.preprocessing import StandardScaler

from unlearnkit.classic import CertifiedLogisticRegression, SummedNaiveBayes, SummedRidge
from unlearnkit.methods.linear.numerics import LOGISTIC, gradient

DIGITS, NUMBERS = load_digits(return_X_y=True)
CELLS, KINDS = load_breast_cancer(return_X_y=True)
SCALED = StandardScaler().fit_transform(CELLS) / 6


def test_ridge_is_that_of_scikit_learn_without_the_rows() -> None:
    targets = np.column_stack([NUMBERS, NUMBERS**2])
    model = SummedRidge(alpha=0.5).fit(DIGITS, targets)
    for request in ([3], range(100, 900), [4, 5]):
        model.unlearn(request)
        other = Ridge(alpha=0.5, solver="cholesky").fit(DIGITS[model.rows_], targets[model.rows_])
        np.testing.assert_allclose(model.coef_, other.coef_, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(model.intercept_, other.intercept_, rtol=1e-7)
    kept = np.delete(np.arange(len(DIGITS)), 3)
    assert not np.allclose(model.coef_, Ridge(alpha=0.5).fit(DIGITS[kept], targets[kept]).coef_), "one request shows"


def test_naive_bayes_of_counts_is_bit_equal_to_a_fit_without_the_rows() -> None:
    gone = np.concatenate([np.arange(500), np.flatnonzero(NUMBERS == 7)])
    gone = np.unique(gone)
    model = SummedNaiveBayes().fit(DIGITS, NUMBERS).unlearn(gone)
    assert (model.predict_proba(DIGITS)[:, 7] == 0).all()
    left = model.rows_
    again = SummedNaiveBayes().fit(DIGITS[left], NUMBERS[left])
    without = [number for number in range(10) if number != 7]
    assert np.array_equal(model.sums_[without], again.sums_)
    assert np.array_equal(model.counts_[without], again.counts_)
    other = MultinomialNB().fit(DIGITS[left], NUMBERS[left])
    np.testing.assert_allclose(model.predict_proba(DIGITS)[:, without], other.predict_proba(DIGITS), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("rows", "labels"), [(SCALED, KINDS), (DIGITS[:400] / 128, NUMBERS[:400])], ids=["2", "10"])
def test_what_is_spent_bounds_the_gradient_that_is_left(rows: np.ndarray, labels: np.ndarray) -> None:
    model = CertifiedLogisticRegression(sigma=2.0, penalty=1e-2, random_state=0).fit(rows, labels)
    # B is held nowhere; at the minimum it is what balances the gradient
    tilt = -gradient(LOGISTIC, model._rows, model._targets, model._weights, 1e-2 * len(rows))
    spent = []
    for row in range(12):
        model.unlearn([row])
        if model.fits_ > 1:
            break
        left = model.rows_
        kept = model._rows[left], model._targets[left]
        slope = gradient(LOGISTIC, *kept, model._weights, 1e-2 * len(left), tilt)
        assert np.linalg.norm(slope) <= model.spent_ <= model.budget_
        spent.append(model.spent_)
    assert len(spent) >= 3
    assert np.all(np.diff(spent) > 0), "requests add up"


def test_a_spent_budget_asks_for_a_fit_with_new_noise() -> None:
    model = CertifiedLogisticRegression(sigma=0.02, random_state=0).fit(SCALED, KINDS)
    for row in range(40):
        model.unlearn([row])
        assert model.spent_ <= model.budget_
    assert model.fits_ > 1


def test_the_noise_is_that_of_the_theorem_and_without_it_the_fit_is_that_of_scikit_learn() -> None:
    tilts = []
    for seed in range(25):
        model = CertifiedLogisticRegression(sigma=0.7, random_state=seed).fit(SCALED, KINDS)
        tilts.append(gradient(LOGISTIC, model._rows, model._targets, model._weights, 1e-3 * len(SCALED)))
    assert np.std(tilts) == pytest.approx(0.7, rel=0.1)
    assert model.budget_ == pytest.approx(0.7 / np.sqrt(2 * np.log(1.5 / 1e-4)))
    model = CertifiedLogisticRegression(sigma=1e-9, random_state=0).fit(SCALED, KINDS).unlearn([5, 17])
    assert model.fits_ == 2
    rows = np.column_stack([SCALED, np.ones(len(SCALED))])[model.rows_]
    other = LogisticRegression(C=1 / (1e-3 * len(rows)), fit_intercept=False, tol=1e-10, max_iter=2000)
    other.fit(rows, KINDS[model.rows_])
    np.testing.assert_allclose(np.append(model.coef_, model.intercept_), other.coef_[0], rtol=1e-3, atol=1e-4)
