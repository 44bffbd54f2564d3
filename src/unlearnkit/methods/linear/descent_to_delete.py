"""Descent-to-delete: brings a linear head to the retained rows by gradient steps, and publishes it with noise.

Idea. Gradient descent on a strongly convex loss comes nearer to the minimum by the same factor with every step, from
wherever it starts. So a few steps on the rows that stay bring the old head as near to their minimum as a training from
scratch would come. Noise that is large beside what is still left between the two hides where the steps began.

Update. With x the head's input (and a constant, where the head has a bias) scaled to length 1, for each class k against
the rest, F = sum over the rows that stay l(x . w_k, t_k) + n lambda / 2 |W|^2, m = n lambda and M = m + |X|^2 / 4,

    W <- W - 2 / (m + M) grad F(W), I times;     publish W + N(0, sigma^2),
    e = sigma (sqrt(ln(1/delta) + epsilon) - sqrt(ln(1/delta))) / sqrt 2,
    I = log(d / e) / log((M + m) / (M - m)),     d = |grad F(W)| / m, at the start: no farther is the minimum.

Statement: the head, given the body, is certified: (epsilon, delta) bound how well it can be told from a head that was
trained on the rows that stay from the start 0, to within e, and published so. Each request has its own noise; several
published heads tell more together, and the account in the weights' card adds them up (in Renyi divergence of order a,
`spent` times a). The original's own head was not fitted so. It is discarded, and the head is fitted to all rows before
the first request; a later request descends from the published head of the one before, as long as weights, rows and
settings are those that this method left, and else begins anew. The body has seen the forgotten data, and of it, so of
the whole model, nothing is stated.

Where the statement is empty: whoever knows the seed knows the noise, and a run folder records the seed; keep the seed
to yourself, and publish neither the original's weights nor config.json. Settings must not be chosen by the forgotten
data. Features are taken as exact, and numbers as real.

Reads: forget_train and retain_train.

Hyperparameters: sigma 0.01 and lambda 1e-3 are ours. The paper gives no numbers to run with, so there is no `paper`
preset.

Deviations from the paper: the noise is a setting, and the steps follow; d is measured on the request's own data in
place of the worst case 2 L / (m n); no projection on a ball. A later request starts from the published head, as the
secret one is kept nowhere; d says how far that is.

Cost per run: one forward pass over all training samples, one fit before the first request, and I steps of 2 n D K on
one core, I some M / (2 m) log(d / e): 1,000 to 3,000 at lambda 1e-3.

When it fails: a small lambda takes many steps (`most_steps` refuses). Features know the class whatever the head does;
the audit finds it there.

Source: S. Neel, A. Roth, S. Sharifi-Malvajerdi, "Descent-to-Delete: Gradient-Based Methods for Machine Unlearning", ALT
2021 (arXiv 2007.02923), section 3.

Example: an untrained network stands for the trained one, and two rows are forgotten.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["descent-to-delete"]().with_settings(["regularisation=0.01"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(rows=(0, 7)), seed=0)
    >>> result.notes["statement"]["epsilon"], result.notes["statement"]["publications"]
    (1.0, 1)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from unlearnkit.errors import ConfigError
from unlearnkit.methods.linear.head_rows import HeadRows, fingerprint, head_rows, linear_head, write_head, written
from unlearnkit.methods.linear.numerics import (
    LOGISTIC,
    curvatures,
    descend,
    descent_error,
    descent_steps,
    distance_bound,
    fit,
)
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.models.metadata import Account
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part


class DescentToDelete(ConfiguredMethod):
    """The method descent-to-delete with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "descent-to-delete"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND
    in_torch: ClassVar[bool] = False

    epsilon: float = Field(default=1.0, gt=0, le=1e3, description="of the statement (ours)")
    delta: float = Field(default=1e-5, gt=0, lt=0.5, description="of the statement (ours)")
    sigma: float = Field(default=0.01, gt=0, le=1e6, description="standard deviation of the published noise (ours)")
    regularisation: float = Field(default=1e-3, gt=0, le=1e3, description="lambda, for each row (ours)")
    most_steps: int = Field(default=100_000, gt=0, description="gradient steps, at most")

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of what is to be forgotten and of what is retained."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Penalty and noise, which bound the accuracy; the statement is no matter of accuracy."""
        return {"regularisation": Range(1e-4, 0.1), "sigma": Range(1e-4, 1.0)}

    def stronger(self) -> Mapping[str, Turn]:
        """The statement."""
        return {"epsilon": "lower", "delta": "lower"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Fit the head, or take it from an earlier request; descend on the rows that stay; add the noise."""
        head = linear_head(model, ctx, self.name)
        gone, kept = (head_rows(model, head, part, ctx) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        everything = gone + kept
        account = ctx.account
        if account is not None and account.fingerprint == self._fingerprint(model, everything):
            weights_DK, spent, publications = written(model, head), account.spent, account.requests + 1
        else:
            before = self.regularisation * len(everything.numbers)
            weights_DK = fit(LOGISTIC, everything.rows, everything.targets, before)
            spent, publications = 0.0, 1
        problem = (LOGISTIC, kept.rows, kept.targets)
        penalty = self.regularisation * len(kept.numbers)
        error = descent_error(self.sigma, self.epsilon, self.delta)
        start = distance_bound(*problem, weights_DK, penalty)
        steps = descent_steps(start, error, *curvatures(LOGISTIC, kept.rows, penalty))
        if steps > self.most_steps:
            raise ConfigError(
                f"Expected at most {self.most_steps} gradient steps (most_steps), but it takes {steps} to come within "
                f"{error:.2g} of the minimum; raise regularisation or sigma, or choose linear-refit, which is exact."
            )
        weights_DK = descend(*problem, weights_DK, penalty, steps)
        noise = torch.randn(weights_DK.shape, generator=ctx.generator, dtype=torch.float64).numpy()
        write_head(model, head, weights_DK + self.sigma * noise)
        spent += (2 * error) ** 2 / (2 * self.sigma**2)  # Renyi divergence of order a, over a
        ctx.log.notes["statement"] = {
            "code": "statement_head_published",
            "epsilon": self.epsilon,
            "delta": self.delta,
            "publications": publications,
            "together": spent + 2 * math.sqrt(spent * math.log(1 / self.delta)),
            "steps": steps,
            "within": error,
            "start_within": start,
        }
        left = Account(self.name, self._fingerprint(model, kept), spent, publications)
        ctx.log.notes["account"] = asdict(left)
        return model

    def _fingerprint(self, model: nn.Module, rows: HeadRows) -> str:
        return fingerprint(model, rows.numbers, self.name, self.sigma, self.regularisation)
