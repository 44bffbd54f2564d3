"""Linear refit: fits the linear head exactly on the retained data, over the frozen body.

Idea. A linear head with a convex loss and a weight penalty has one best setting for any set of rows, whatever it was
before. So a head that is fitted anew to the retained rows is the very head that somebody would have fitted who never
had the forgotten ones, as long as the body is taken as given. It is the oracle of the methods that save this fit:
`newton-removal`, `projective-residual` and `descent-to-delete`.

Update. With x the head's input (and a constant, where the head has a bias) scaled to length 1, t = 1 for a row's own
class and else 0, and for each class k by itself (one against the rest)

    w_k = argmin of sum over retained rows l(x . w_k, t_k) + n lambda / 2 |w_k|^2,

l the logistic loss, or half the square with the constant `ridge` in place of n lambda. It is found by Newton's method
in float64, and written into the head; everything else stays bit for bit.

Statement: the head is exact, given the body, up to rounding. The body has seen the forgotten data, and of it, so of the
whole model, nothing is stated.

Reads: retain_train.

Hyperparameters: lambda 1e-3 is ours; ridge 1e-4 that of Izzo et al.

Deviations from the paper: there is none; this is what the three papers compare with, their `retraining`.

Cost per run: one forward pass over the retained samples, then some ten Newton steps of n D^2 + D^3 for each class on
one core: 0.05 s for digits, where D is 65.

When it fails: features know the class. A probe of them finds it, and a few samples bring it back; that is what the
audit shows of every method that keeps the body. The head's logits are scores of one class against the rest, and their
softmax is no longer calibrated as the original's was.

Source: the reference of C. Guo, T. Goldstein, A. Hannun, L. van der Maaten, "Certified Data Removal from Machine
Learning Models", ICML 2020 (arXiv 1911.03030), whose word is said here only with what it is said of.

Example: an untrained network stands for the trained one.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> result = uk.unlearn(model, uk.METHODS["linear-refit"](), data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), result.notes["statement"]["code"]
    (0, 'statement_head_exact')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from unlearnkit.methods.linear.head_rows import head_rows, linear_head, write_head
from unlearnkit.methods.linear.numerics import LOGISTIC, SQUARED, fit
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part


class LinearRefit(ConfiguredMethod):
    """The method linear refit with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "linear-refit"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND
    in_torch: ClassVar[bool] = False

    loss: Literal["logistic", "squared"] = Field(default="logistic", description="of the head")
    regularisation: float = Field(
        default=1e-3, gt=0, le=1e3, description="lambda of the logistic loss, for each row (ours)"
    )
    ridge: float = Field(default=1e-4, gt=0, le=1e6, description="penalty of the squared loss, in all (Izzo: 1e-4)")

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Both penalties; the loss that is not chosen ignores its own."""
        return {"regularisation": Range(1e-6, 0.1), "ridge": Range(1e-8, 10.0)}

    def stronger(self) -> Mapping[str, Turn]:
        """Nothing: the head holds nothing of the forgotten data at any setting."""
        return {}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Fit the head to the retained rows and write it back."""
        head = linear_head(model, ctx, self.name)
        kept = head_rows(model, head, Part.RETAIN_TRAIN, ctx)
        loss, penalty = {
            "logistic": (LOGISTIC, self.regularisation * len(kept.rows)),
            "squared": (SQUARED, self.ridge),
        }[self.loss]
        rounding = write_head(model, head, fit(loss, kept.rows, kept.targets, penalty))
        ctx.log.notes["statement"] = {"code": "statement_head_exact", "rounding": rounding}
        return model
