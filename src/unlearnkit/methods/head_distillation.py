"""Head distillation: teaches the classifier head alone to answer without the class; a control that an audit must fail.

Idea. The body is frozen, bit by bit as it was. The head is trained to give the original's distribution with the
forgotten classes cut out, on forget and retained data. The outputs are then close to a retrained model's, and every
test that sees only outputs passes; all that the network knew of the class is still in its features.

Update. With z the original's logits, C_f the classes to forget or forgotten earlier, and only the head's weights free,

    minimise KL(p(x) || softmax(f(x))) over all data,   p = softmax(z'),   z'_k = minus infinity for k in C_f, z_k else.

Reads: the training data of the classes to forget and the retained training data.

Hyperparameters: rate and length are ours, chosen so that the forgotten accuracy on digits is 0. The paper's are not
known to us.

Cost per run: epochs x (forget data + retained samples), twice forward and once backward; a body whose features were
kept would need one pass of them.

Deviations from the paper: BatchNorm keeps its statistics and dropout is off, so that the features stay the same bit by
bit. Where several classes are forgotten, all are cut out of every target.

When it fails: always, by design: a probe on the features finds the class, and training on a few samples brings it back.
An audit that passes it judges by the outputs alone. `head-mask` is the same control without data, and is cruder: its
forgotten logits are -1e4.

Source: D. Jeon, W. Jeung, T. Kim, A. No, J. Choi, "An Information Theoretic Evaluation Metric For Strong Unlearning",
AAAI 2026 (arXiv 2405.17878), where it shows that measures of the outputs alone do not suffice.

Example: an untrained network stands for the trained one, and the settings are tiny; the first kernel is unchanged.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["head-distillation"]().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> bool((result.model.features[0].weight == model.features[0].weight).all())
    True
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from unlearnkit.data.samples import Concat
from unlearnkit.errors import ModelError
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.head_inputs import head_of
from unlearnkit.methods.common.teachers import teacher_of
from unlearnkit.methods.finetune import keep_still
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.models.head import own_head
from unlearnkit.split import Part
from unlearnkit.training.losses import distillation
from unlearnkit.training.recipe import Recipe


class HeadDistillation(ConfiguredMethod):
    """The control head distillation with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "head-distillation"
    control: ClassVar[bool] = True

    recipe: Recipe = Recipe(epochs=5, batch_size=64, lr=0.01, optimizer="adam")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Rate and length."""
        return {"recipe.lr": Range(1e-4, 0.1), "recipe.epochs": Range(1, 10)}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Freeze the body, and distil the head."""
        head = head_of(model, ctx)
        if not any(parameter.requires_grad for parameter in own_head(model, head).parameters()):
            raise ModelError(
                f"Expected a classifier head that may change, but all weights of {head!r} are frozen; unfreeze them, "
                "or choose delete, which trains whatever may change."
            )
        loss = distillation(teacher_of(model), (*ctx.request.forget, *ctx.request.already_forgotten))
        keep_still(model, [head])
        samples = Concat([ctx.view.part(Part.FORGET_TRAIN), retained_subset(ctx, self.retain_per_class)])
        fit(model, samples, self.recipe, ctx, stage="distil", loss=loss, stored_statistics=True)
        return model
