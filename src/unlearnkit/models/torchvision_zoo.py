"""Builds classifiers of torchvision, with new or with pretrained weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from urllib.error import HTTPError, URLError

from torch import nn

from unlearnkit.errors import ModelError
from unlearnkit.models.factory import building

# Where torchvision itself switches these on together with the weights: a model that is built again to read our file
# would be without them, and would read its images in another way. So the name has to say it.
PRETRAINED_OPTIONS: dict[str, Mapping[str, object]] = {
    "googlenet": {"aux_logits": True, "transform_input": True},
    "inception_v3": {"aux_logits": True, "transform_input": True},
}


def build_torchvision(
    name: str, options: Mapping[str, object], *, num_classes: int, in_channels: int, pretrained: bool
) -> nn.Module:
    """Build a classifier of torchvision.

    Pretrained weights come with a fresh head, unless `num_classes` is 1,000, as theirs.

    Raises:
        ModelError: the name or an option is unknown, the images have not 3 channels, or the weights cannot be fetched.
    """
    from torchvision import models as zoo

    check_torchvision(name)
    if in_channels != 3:
        raise ModelError(
            f"Expected images with 3 channels for torchvision:{name}, but the data has {in_channels}; "
            "choose a model of timm (timm:NAME takes any number), or a built-in one."
        )
    needed = PRETRAINED_OPTIONS.get(name, {})
    if pretrained and any(options.get(key) != value for key, value in needed.items()):
        written = ",".join(f"{key}={value}" for key, value in needed.items())
        raise ModelError(
            f"Expected the options that the pretrained weights of torchvision:{name} belong to, but they are not in "
            f"the name; write torchvision:{name},{written}."
        )
    with building(f"torchvision:{name}", options):
        model: nn.Module = zoo.get_model(name, weights=None, num_classes=num_classes, **options)
    if pretrained:
        _load_pretrained(model, name, options, num_classes)
    return model


def check_torchvision(name: str) -> None:
    """Refuse a name that no classifier of torchvision has, and name the nearest.

    Raises:
        ModelError: torchvision does not know the name.
    """
    from torchvision import models as zoo

    known = zoo.list_models(module=zoo)  # classifiers alone, no detection, segmentation or video
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "resnet18 is one."
        raise ModelError(f"Expected a classifier of torchvision, but got {name!r}; {hint}")


def _load_pretrained(model: nn.Module, name: str, options: Mapping[str, object], num_classes: int) -> None:
    """Copy the weights of torchvision's pretrained model, except for a head of another width."""
    from torchvision import models as zoo

    weights_title = f"the pretrained weights of torchvision:{name}"
    try:
        with building(f"torchvision:{name}", options):
            source = zoo.get_model(name, weights="DEFAULT", progress=False, **options)
    except ModelError as error:
        cause = error.__cause__
        if isinstance(cause, HTTPError):
            raise ModelError(
                f"Expected {weights_title}, but their server answers {cause.code}; try again later."
            ) from cause
        if isinstance(cause, URLError | ConnectionError | TimeoutError):
            raise ModelError(
                f"Expected {weights_title}, but this machine is offline and they are not in torch's cache; connect "
                "once, copy them into TORCH_HOME, or leave --pretrained out."
            ) from cause
        raise
    state, model_state = source.state_dict(), model.state_dict()
    other = {key for key, value in model_state.items() if key in state and state[key].shape != value.shape}
    heads = all(
        model_state[k].shape[0] == num_classes and model_state[k].shape[1:] == state[k].shape[1:] for k in other
    )
    if state.keys() != model_state.keys() or not heads:
        differing = sorted(other | (state.keys() ^ model_state.keys()))
        raise ModelError(
            f"Expected {weights_title} to fit the model in all layers but the head, but "
            f"{', '.join(differing[:5])} do not; leave out the options after the commas, or --pretrained."
        )
    model_state.update({key: value for key, value in state.items() if key not in other})
    model.load_state_dict(
        model_state
    )  # the model's own dict, as some architectures ask for the version that it carries
