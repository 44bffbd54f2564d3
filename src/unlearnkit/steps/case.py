"""Defines Case: a trained model, its data and the classes to forget, opened once for every step that needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from unlearnkit.data import AccessLog, ImageData
from unlearnkit.data.preprocessing import Origin
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.models.hub import WeightsSource, resolve_weights
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.progress import Progress
from unlearnkit.split import Split, split_for
from unlearnkit.steps.opening import classes_origin, load_images, model_name, open_model, request_for, retained_shape
from unlearnkit.steps.rows import CaseRows, found_rows, named_case, request_with
from unlearnkit.steps.specs import CaseSpec


@dataclass(frozen=True, kw_only=True)
class Case:
    """A trained model, its data, and the classes to forget.

    Args:
        spec: what it was opened from.
        source: where the weights lie, and what a hub says of them.
        checkpoint: the weights before forgetting.
        architecture: name that the model is built with.
        data: under the model's class list, its image shape known; `data.preprocessing` says how it is fed to the model,
            and `data.origins` who decided that.
        request: the classes to forget, and those forgotten earlier.
        split: the parts of the data.
        model: the trained network with its weights, in eval mode.
        rows: the rows among the request, by number and content.
        access: what was read to name them.
    """

    spec: CaseSpec
    source: WeightsSource
    checkpoint: Checkpoint
    architecture: str
    data: ImageData
    request: ForgetRequest
    split: Split
    model: nn.Module
    rows: CaseRows
    access: AccessLog

    @classmethod
    def opened(
        cls,
        spec: CaseSpec,
        *,
        reader: str | None,
        source: WeightsSource | None = None,
        checkpoint: Checkpoint | None = None,
        check: Callable[[Split], None] | None = None,
        progress: Progress | None = None,
    ) -> Case:
        """Read the weights and the labels, and build the model; one image is read, for its shape.

        Rows to forget are read too, to name them by content, and for their duplicates all retained training images.

        Args:
            spec: what to open.
            reader: who will read retained images, for the message where there are none: the shape is then taken from
                one of those. None: nobody needs to, and where no retained image is left, another tells the shape.
            source: where the weights lie, where that is known already.
            checkpoint: the weights, where they have been read already.
            check: called with the split before any image is looked at, to refuse it.
            progress: where the naming of rows is shown.

        Raises:
            InputError: something cannot be read, or does not fit the rest.
        """
        source = source or resolve_weights(str(spec.weights))
        checkpoint = checkpoint or read_checkpoint(source.path, spec.weights_key)
        architecture = model_name(spec.model or source.model, checkpoint)
        data = load_images(spec.data, checkpoint, spec.inputs, model=architecture, hub=source)
        access = AccessLog(data)
        rows = found_rows(spec.rows, checkpoint, data, access, progress)
        request = request_with(rows, request_for(spec.forget, spec.already_forgotten, checkpoint, data.classes))
        split = split_for(request, data)
        if check is not None:
            check(split)
        if reader is None:
            data.fix_shape_for(split)
        else:
            retained_shape(data, split, reader)
        rows = named_case(rows, spec.rows, data, split, access, progress)
        return cls(
            spec=spec,
            source=source,
            checkpoint=checkpoint,
            architecture=architecture,
            data=data,
            request=request,
            split=split,
            model=open_model(architecture, checkpoint, data),
            rows=rows,
            access=access,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's class list."""
        return self.data.classes

    @property
    def weights_note(self) -> str | None:
        """What was taken off the names in the weights file and left out of it; None: nothing was."""
        return self.checkpoint.note(self.model)

    @property
    def classes_origin(self) -> Origin:
        """Where the order of the class list comes from."""
        return classes_origin(self.checkpoint, self.spec.inputs, self.source)

    def with_weights(self, checkpoint: Checkpoint) -> nn.Module:
        """Return a model of the same architecture with other weights.

        Raises:
            ConfigError, ModelError, WeightsError: they do not fit the data or the architecture.
        """
        return open_model(self.architecture, checkpoint, self.data)

    def fresh(self) -> nn.Module:
        """Return a newly initialised model of the same architecture; draws from the global generator."""
        return build_model(self.architecture, num_classes=len(self.classes), in_channels=self.data.shape[0])
