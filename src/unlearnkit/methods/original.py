"""Original: returns the model as it came; a control that an audit must fail.

Idea. The model is returned bit for bit as it came. Whatever an audit says of it is what it says of a model that has
forgotten nothing. A metric on which the original looks like a retrained model cannot tell forgetting from not
forgetting, in this setting.

Update: theta' = theta.

Reads: nothing.

Hyperparameters: none.

Cost per run: none.

Deviations: none; there is nothing to deviate from.

When it fails: always, and must.

Source: none; it is the model that was given, the point of reference that every comparison has.

Example: the weights are those that were given.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.Original()
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.model is model, bool((result.model.head.weight == model.head.weight).all())
    (False, True)
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part


class Original(ConfiguredMethod):
    """The original model, unchanged."""

    name: ClassVar[str] = "original"
    control: ClassVar[bool] = True
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    @property
    def needs(self) -> frozenset[Part]:
        """No part of the data is read."""
        return frozenset()

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:  # noqa: ARG002 - the Method interface
        """Return the model unchanged."""
        return model
