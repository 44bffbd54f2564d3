"""Projective residual update: takes rows out of a ridge-regression head at a price that does not depend on all rows.

Idea. Ridge regression tells without a new fit what it would predict for a row had it never seen it. The residual is
divided by one minus the row's leverage; for several rows that is a small linear system. A head that gives these
predictions for the removed rows, and moves no further than it must, has the exact new fit's change projected on the
span of these rows.

Update. With x the head's input (and a constant, where the head has a bias) scaled to length 1, t = 1 for a row's own
class and else 0, G = (X^T X + ridge I)^-1 of all rows and W = G X^T T the head that is fitted to them, for the rows to
remove

    yhat = t - (I - X_f G X_f^T)^-1 (t - X_f W),     W <- W - (sum x x^T)^+ sum x (x . W - yhat).

Statement: there is none of (epsilon, delta). The head's change is exact on the span of the removed rows, given the
body, and nothing across it; where these rows span all of the head's inputs, as a class of more rows than inputs does,
the head is that of a new fit. The original's own head was not fitted so; it is discarded, and the head is first fitted
to all rows. The body has seen the forgotten data, and of it, so of the whole model, nothing is stated.

Reads: forget_train and retain_train.

Hyperparameters: ridge 1e-4 in all, in `paper()` as by default; it stays the same however many rows are left.

Deviations from the paper: each request begins with an exact fit to the rows that are left, so what one update leaves
out does not add up; the paper keeps the updated head. Least squares in place of its Gram-Schmidt; the same result.

Cost per run: one forward pass over all training samples and one fit, n D^2 + D^3; the update itself m^2 D.

When it fails: with few rows in many dimensions most of the exact change lies across their span, and is not made. A
least-squares head is a coarse classifier. Features know the class whatever the head does; the audit finds it there.

Source: Z. Izzo, M. A. Smart, K. Chaudhuri, J. Zou, "Approximate Data Deletion from Machine Learning Models", AISTATS
2021 (arXiv 2002.10077), section 3.

Example: an untrained network stands for the trained one, and two rows are forgotten.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> result = uk.unlearn(model, uk.METHODS["projective-residual"](), data, uk.ForgetRequest(rows=(0, 7)), seed=0)
    >>> result.notes["statement"]["code"], result.notes["statement"]["span"]
    ('statement_head_projected', 2)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from torch import nn

from unlearnkit.methods.linear.head_rows import head_rows, linear_head, write_head
from unlearnkit.methods.linear.numerics import Array, remove_by_projection
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part


class ProjectiveResidual(ConfiguredMethod):
    """The method projective residual update with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "projective-residual"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND
    in_torch: ClassVar[bool] = False

    ridge: float = Field(default=1e-4, gt=0, le=1e6, description="penalty, of all rows together (paper: 1e-4)")

    @classmethod
    def paper(cls) -> Self:
        """The paper's penalty."""
        return cls(ridge=1e-4)

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of what is to be forgotten and of what is retained."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """The penalty."""
        return {"ridge": Range(1e-8, 10.0)}

    def stronger(self) -> Mapping[str, Turn]:
        """Nothing: how much is removed is a matter of the rows."""
        return {}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Fit the head to all rows, update it, and write it back."""
        head = linear_head(model, ctx, self.name)
        gone, kept = (head_rows(model, head, part, ctx) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        rows_nD, targets_nK = (gone + kept).rows, (gone + kept).targets
        inputs = rows_nD.shape[1]
        inverse_DD: Array = np.linalg.inv(rows_nD.T @ rows_nD + self.ridge * np.eye(inputs)).astype(np.float64)
        fitted_DK = inverse_DD @ (rows_nD.T @ targets_nK)
        updated_DK = remove_by_projection(gone.rows, gone.targets, fitted_DK, inverse_DD)
        write_head(model, head, updated_DK)
        ctx.log.notes["statement"] = {
            "code": "statement_head_projected",
            "span": int(np.linalg.matrix_rank(gone.rows)),
            "inputs": inputs,
            "moved": float(np.linalg.norm(updated_DK - fitted_DK)),
        }
        return model
