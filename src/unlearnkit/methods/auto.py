"""Auto: takes the cheapest of three ways to forget that, by its own account, does what it set out to do.

Idea. No way to forget is best everywhere. Erasure in closed form costs a hundredth of a retraining and serves networks
for photographs; where a network is small and the data are few, it leaves most of the class's direction, and learning
anew from shrunk weights is both near to retraining and short. Each can tell from retained images alone that it did not
do: by what still shows of the class in front of the head, or by retained validation accuracy that is lost. So they are
tried in the order of their cost, each on the original.

Update. Until one is kept, each on the original:
1. `erase`. Kept where at most `remains` of the resemblance to a forgotten class still shows at the head's input (in
   [0, 1] as `erase` measures it; .9 or so in the originals that we looked at), and retained validation accuracy holds.
   Where it aims at a level above `remains` no layer is edited: what is left at the head was never below the level.
2. `shrink-distill`, one attempt. Kept where retained validation accuracy holds.
3. `unsir`. Kept where retained validation accuracy holds.

Where none is, the one is kept that lost the least accuracy, an erasure that leaves the class aside. Accuracy holds when
it is below the original's, without its forgotten outputs, by no more than `tolerance` and one standard error, as in the
search of `unsir`. The run's notes say what was tried, with the figures, what was kept, and whether it holds.

Reads: retain_train, and retain_val for accuracy and for UNSIR's search. Never forget data. Without validation samples
accuracy is not asked about.

Hyperparameters: `remains` 0.5 lies between the networks on which an audit found nothing left after `erase`, or hardly
(0 to 0.5), and those on which it found the class (0.7 to 0.9); see docs/log.md, 2026-11-28.

Deviations: ours.

Cost per run: that of what is kept and of what was tried before it, and a forward pass of retain_val for each; of an
erasure that is not carried out, one forward pass of its images. On the small network for CIFAR-10, where `erase` is
kept, a fortieth of a retraining of four epochs; on digits a third to two fifths of one, on a small transformer for
these a seventh; where UNSIR is kept, more than UNSIR alone: by a fifth to four fifths, on
MobileNetV2 two and a half times as much.

When it fails: neither question asks whether outputs are like a retrained model's, or whether `erase` estimated the
class's direction well. Of the latter an erasure that is kept says so where it has reason to doubt. None of it replaces
an audit.

Source: ours.

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["auto"]().with_settings(["erase.retain_per_class=20", "remains=10", "tolerance=0.9"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.notes["auto"]["kept"], result.access.forget_samples_read(result.split)
    ('erase', 0)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from unlearnkit.errors import ModelError, NonFiniteLossError
from unlearnkit.methods.common.rate_search import missing, right_answers
from unlearnkit.methods.erase.erase import Erase
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.shrink_distill import ShrinkDistill
from unlearnkit.methods.unsir.unsir import UNSIR
from unlearnkit.split import Part


class Auto(ConfiguredMethod):
    """The method Auto with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "auto"

    remains: float = Field(
        default=0.5, ge=0, le=10, description="what may show of a class at the head after erase, of 1"
    )
    tolerance: float = Field(default=0.02, ge=0, lt=1, description="accuracy that may be lost, as a fraction")
    erase: Erase = Erase()
    distil: ShrinkDistill = ShrinkDistill(search=None)
    unsir: UNSIR = UNSIR()

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training and validation data."""
        return frozenset({Part.RETAIN_VAL}) | self.erase.needs | self.distil.needs | self.unsir.needs

    def stronger(self) -> Mapping[str, Turn]:
        """What may show of a class after the erasure."""
        return {"remains": "lower"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Erase; where that does not do, shrink and distil; where that does not, UNSIR; else keep the most accurate."""
        validation = ctx.view.part(Part.RETAIN_VAL)
        known = right_answers(model, validation, ctx, masked=True) if len(validation) else None
        tried: list[dict[str, Any]] = []
        best: tuple[float, str, nn.Module] | None = None  # its accuracy, and which it is
        holds = False
        ways: tuple[ConfiguredMethod, ...] = (self.erase, self.distil, self.unsir)
        for method in ways:
            found: dict[str, Any] = {"method": method.name}
            tried.append(found)
            try:
                result = self._made_by(method, copy.deepcopy(model), found, ctx)
            except (ModelError, NonFiniteLossError) as error:
                if method is self.unsir and best is None:
                    raise
                found["failed"], result = str(error), None
            if result is not None:
                holds = self._holds(result, known, found, ctx)
                accuracy = found.get("accuracy", 1.0)
                if holds or best is None or accuracy > best[0]:
                    best = accuracy, method.name, result
                if holds:
                    break
            ctx.log.progress.say(f"{method.name} does not do here: {why_not(found)}")
        assert best is not None, "the last way gives a model or raises"
        _, kept, result = best
        if not holds:
            ctx.log.progress.say(f"None of the ways holds retained accuracy; {kept}, which lost the least, is kept")
        if tried[-1]["method"] != kept and "search" in ctx.log.notes:  # the last one's, and not of what is kept
            tried[-1]["search"] = ctx.log.notes.pop("search")
        if kept != self.erase.name:
            ctx.log.notes.pop("doubt", None)  # of an erasure that was tried
        ctx.log.notes["auto"] = {"kept": kept, "holds": holds, "tried": tried}
        return result

    def _made_by(
        self, method: ConfiguredMethod, model: nn.Module, found: dict[str, Any], ctx: Context
    ) -> nn.Module | None:
        """Return what a way makes of the model; None where the class still shows, which is noted."""
        if method is not self.erase:
            return method.run(model, ctx)
        plan = self.erase.plan(model, ctx)
        found["aims_at"] = float(plan.may_show.max())
        if found["aims_at"] > self.remains:
            return None
        result = self.erase.carry_out(plan, ctx)
        found["shows"] = max(ctx.log.notes["erase"]["layers"][-1]["shown"])
        return result if found["shows"] <= self.remains else None

    def _holds(self, result: nn.Module, known: Tensor | None, found: dict[str, Any], ctx: Context) -> bool:
        """Note what is left of the accuracy, and return whether it holds; without validation samples it does."""
        if known is None:
            return True
        right = right_answers(result, ctx.view.part(Part.RETAIN_VAL), ctx)
        found |= {"accuracy_before": float(known.float().mean()), "accuracy": float(right.float().mean())}
        return missing(known, right) <= self.tolerance


def why_not(found: Mapping[str, Any]) -> str:
    """Return in words why a way was not kept."""
    if "failed" in found:
        return str(found["failed"])
    if "accuracy" in found:
        return f"retained validation accuracy {found['accuracy_before']:.1%} -> {found['accuracy']:.1%}"
    if "shows" not in found:
        return f"it would leave {found['aims_at']:.2f} of the resemblance to the class, or more"
    return f"{found['shows']:.2f} of the resemblance to the class still shows at the head"
