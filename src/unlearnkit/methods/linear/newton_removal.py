"""Newton removal (Guo et al.): takes rows out of a linear head by one Newton step, with a budget for the residual.

Idea. A head that minimises a convex loss on all rows is nearly the minimum without some of them after one step of
Newton's method. What is left is a gradient that is not quite zero, and its length is bounded by figures of the request
itself. If a random linear term was added to the loss when the head was fitted, that gradient cannot be told from a
slightly other draw of the term. So the bound is an expense, the noise is the budget, and when it is spent the head is
fitted anew.

Update. With x the head's input (and a constant, where the head has a bias) scaled to length 1, for each class k against
the rest, lambda the penalty and B ~ N(0, sigma^2) in every component,

    fit:     W = argmin of sum over all rows and classes l(x . w_k, t_k) + n lambda / 2 |W|^2 + sum of B * W
    remove:  w_k <- w_k + H_k^-1 (m lambda w_k + sum over the m removed rows of l'(x . w_k, t_k) x)
    spend:   sqrt(sum over k of (gamma |X| |step_k| |X step_k|)^2),  H and X of the rows that stay, gamma = max |l'''|

and fit the rows that stay, with a new B, when more is spent than sigma epsilon / sqrt(2 ln(1.5 / delta)).

Statement: the head, given the body, is certified: (epsilon, delta) bound how well it can be told from a head that was
fitted, with its own B, without the removed rows. The original's own head was not fitted so. It is discarded, and the
head is fitted to all rows before the first request; a later request goes on from the weights of the one before, as long
as weights, rows and settings are those that this method left (`account` in the weights' card), and else begins anew.
The body has seen the forgotten data, and of it, so of the whole model, nothing is stated.

Where the statement is empty: whoever knows the seed knows B, and a run folder records the seed; keep the seed to
yourself, and publish neither earlier weights nor config.json. Settings must not be chosen by the forgotten data.
Features are taken as exact, which holds for the same images on the same machine; numbers as real, but the rounding of
the written weights is counted.

Reads: forget_train and retain_train.

Hyperparameters: sigma and lambda are ours, so that digits keep their accuracy. `paper()` has lambda 2e-4, sigma 10,
epsilon 1 and delta 1e-4, for tens of thousands of rows; on digits that noise is as large as the gradient.

Deviations from the paper: the classes' heads are one vector, so that one epsilon holds for all of them together; gamma
is 1 / (6 sqrt 3), the largest |l'''|, where the paper takes 1/4; epsilon ends at 2 ln 3, up to which its delta is
right.

Cost per run: one forward pass over all training samples; K Hessians of n D^2 + D^3 on one core, and ten times that
where the head is fitted: before the first request, and when the budget is spent.

When it fails: a class is too much for one step: its head loses all examples, the bound exceeds every budget, and the
request ends in a new fit. Features know the class whatever the head does; the audit finds it there.

Source: C. Guo, T. Goldstein, A. Hannun, L. van der Maaten, "Certified Data Removal from Machine Learning Models", ICML
2020 (arXiv 1911.03030), whose word stands here only beside what it is said of, so not in the method's name.

Example: an untrained network stands for the trained one, and two rows are forgotten.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> result = uk.unlearn(model, uk.METHODS["newton-removal"](), data, uk.ForgetRequest(rows=(0, 7)), seed=0)
    >>> said = result.notes["statement"]
    >>> said["epsilon"], said["refitted"], 0 < said["spent"] < said["budget"]
    (1.0, False, True)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import nn

from unlearnkit.errors import ConfigError
from unlearnkit.methods.linear.head_rows import HeadRows, fingerprint, head_rows, linear_head, write_head, written
from unlearnkit.methods.linear.numerics import (
    LOGISTIC,
    MOST_EPSILON,
    Array,
    curvatures,
    fit,
    gradient,
    remove_by_newton,
    residual_budget,
)
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.models.metadata import Account
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part


class NewtonRemoval(ConfiguredMethod):
    """The method Newton removal with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "newton-removal"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND
    in_torch: ClassVar[bool] = False

    epsilon: float = Field(
        default=1.0, gt=0, le=MOST_EPSILON, description="of the statement, at most 2 ln 3 (paper: 1)"
    )
    delta: float = Field(default=1e-4, gt=0, lt=0.5, description="of the statement (paper: 1e-4)")
    sigma: float = Field(default=1.0, gt=0, le=1e6, description="standard deviation of B (paper: 10)")
    regularisation: float = Field(default=1e-3, gt=0, le=1e3, description="lambda, for each row (paper: 2e-4)")

    @classmethod
    def paper(cls) -> Self:
        """Lambda and noise of the paper's linear heads over a frozen body."""
        return cls(epsilon=1.0, delta=1e-4, sigma=10.0, regularisation=2e-4)

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of what is to be forgotten and of what is retained."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Penalty and noise, which bound the accuracy; the statement is no matter of accuracy."""
        return {"regularisation": Range(1e-5, 0.1), "sigma": Range(0.01, 20.0)}

    def stronger(self) -> Mapping[str, Turn]:
        """The statement."""
        return {"epsilon": "lower", "delta": "lower"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Fit the head, or take it from an earlier request; remove the rows; fit again if the budget is spent."""
        head = linear_head(model, ctx, self.name)
        gone, kept = (head_rows(model, head, part, ctx) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        everything = gone + kept
        penalty = self.regularisation * len(kept.numbers)
        budget = residual_budget(self.sigma, self.epsilon, self.delta)
        account = ctx.account
        if account is not None and account.fingerprint == self._fingerprint(model, everything):
            weights_DK, spent, requests = written(model, head), account.spent, account.requests + 1
        else:
            (weights_DK, spent), requests = self._fitted(everything, ctx), 1
        weights_DK, bound = remove_by_newton(
            LOGISTIC,
            kept.rows,
            gone.rows,
            gone.targets,
            weights_DK,
            penalty_before=self.regularisation * len(everything.numbers),
            penalty_after=penalty,
        )
        most = curvatures(LOGISTIC, kept.rows, penalty)[1]  # so much gradient for each length of rounding
        spent += bound + most * write_head(model, head, weights_DK)
        wanted, refitted = spent, spent > budget
        if refitted:
            (weights_DK, spent), requests = self._fitted(kept, ctx), 1
            spent += most * write_head(model, head, weights_DK)
        if spent > budget:
            raise ConfigError(
                f"Expected rounding to leave a gradient below the budget of {budget:.2g}, but it leaves {spent:.2g}; "
                "raise sigma, or keep the model in float32."
            )
        ctx.log.notes["statement"] = {
            "code": "statement_head",
            "epsilon": self.epsilon,
            "delta": self.delta,
            "spent": spent,
            "budget": budget,
            "requests": requests,
            "refitted": refitted,
            "bound_of_request": wanted,
        }
        left = Account(self.name, self._fingerprint(model, kept), spent, requests)
        ctx.log.notes["account"] = asdict(left)
        return model

    def _fitted(self, rows: HeadRows, ctx: Context) -> tuple[Array, float]:
        """Fit the head with a new random term; return it, and the length of the gradient that the fit has left."""
        penalty, shape = self.regularisation * len(rows.numbers), (rows.rows.shape[1], rows.targets.shape[1])
        tilt_DK = self.sigma * torch.randn(shape, generator=ctx.generator, dtype=torch.float64).numpy()
        weights_DK = fit(LOGISTIC, rows.rows, rows.targets, penalty, tilt_DK=tilt_DK)
        left_DK = gradient(LOGISTIC, rows.rows, rows.targets, weights_DK, penalty, tilt_DK)
        return weights_DK, float((left_DK**2).sum() ** 0.5)

    def _fingerprint(self, model: nn.Module, rows: HeadRows) -> str:
        return fingerprint(model, rows.numbers, self.name, self.sigma, self.regularisation)
