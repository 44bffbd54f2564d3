"""Original: do nothing. The control that an audit must fail.

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
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.split import Part


class Original(ConfiguredMethod):
    """The model as it is."""

    name: ClassVar[str] = "original"
    control: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[Part]:
        """Nothing."""
        return frozenset()

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:  # noqa: ARG002 - the Method interface
        """Return the model."""
        return model
