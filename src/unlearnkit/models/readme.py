"""Writes the Hugging Face model card of a run folder: a README.md on what the weights are and how to load them."""

from __future__ import annotations

import re
import string
from typing import Literal

from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.names import parse_name

MOST_CLASSES = 200  # names that are listed
NO_GUARANTEE = (
    "Machine unlearning of this kind is no formal guarantee of deletion: low accuracy on a class does not prove that "
    "nothing about it is left in the weights. Read the audit of the run before you rely on it."
)


def readme(
    card: ModelCard,
    *,
    kind: Literal["train", "forget"],
    seed: int,
    method: str | None = None,
    accuracy: float | None = None,
) -> str:
    """Return the text of README.md for the weights that `card` describes.

    Class names and the model's name are a stranger's text: they are escaped. No licence is named, as it is not known.

    Args:
        card: what is stored with the weights.
        kind: whether the weights were trained, or made to forget.
        seed: the run's.
        method: of `forget`.
        accuracy: on held-out retained data, in [0, 1].
    """
    parsed = parse_name(card.model)
    forgotten = _names(card.forgotten) or "none"
    facts = [
        ("Architecture", _code(card.model)),
        ("Classes, in the order of the outputs", _names(card.classes)),
        ("Classes forgotten" if kind == "forget" else "Classes left out of the training", forgotten),
        ("Made by", f"unlearning ({_code(method or 'unknown method')})" if kind == "forget" else "training"),
        ("Seed", str(seed)),
        ("Accuracy on held-out retained images", "not measured" if accuracy is None else f"{accuracy:.1%}"),
    ]
    channels, height, width = card.shape
    fed = card.preprocessing
    resize = (
        "as they are"
        if fed.size is None
        else f"resized ({fed.interpolation}) so that the centre of {fed.size} x {fed.size} is "
        f"{fed.crop:.1%} of the shorter side"
        if fed.crop < 1
        else f"resized ({fed.interpolation}) to {fed.size} x {fed.size}"
    )
    preprocessing = [
        f"- {channels} x {height} x {width} (channels, height, width), {resize}",
        "- values scaled to [0, 1], then `(image - mean) / std` for each channel",
        f"- mean {list(fed.mean)}, std {list(fed.std)}",
    ]
    description = (
        "Weights of an image classifier that was made to forget classes after its training."
        if kind == "forget"
        else "Weights of an image classifier, trained to be the original or the reference of machine unlearning."
    )
    library = parsed.kind if parsed.kind in ("timm", "transformers") else "pytorch"
    sections = [
        f"---\nlibrary_name: {library}\npipeline_tag: image-classification\ntags:\n- machine-unlearning\n"
        "- image-classification\n- unlearnkit\n---",
        "# Image classifier" + (" after unlearning" if kind == "forget" else ""),
        description,
        "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts)]),
        "## What it does not say",
        NO_GUARANTEE,
        "## Images",
        "\n".join(preprocessing),
        "## Loading",
        _loading(card),
    ]
    return "\n\n".join(sections) + "\n"


def _loading(card: ModelCard) -> str:
    """Return a snippet that builds the model and loads `model.safetensors` beside it."""
    parsed = parse_name(card.model)
    if parsed.kind == "transformers":
        return (
            "With transformers alone:\n\n```python\nfrom transformers import AutoModelForImageClassification\n\n"
            'model = AutoModelForImageClassification.from_pretrained("transformers")  # the folder beside this\n```'
        )
    width, channels = len(card.classes), card.shape[0]
    options = "".join(f", {key}={value!r}" for key, value in parsed.options.items())
    if parsed.kind == "timm":
        note, imports = "With timm alone:", "import timm"
        build = f"timm.create_model({parsed.base!r}, num_classes={width}, in_chans={channels}{options})"
    elif parsed.kind == "torchvision":
        note, imports = "With torchvision alone:", "from torchvision.models import get_model"
        build = f"get_model({parsed.base!r}, weights=None, num_classes={width}{options})"
    elif parsed.kind in ("built-in", "sharded"):
        note = "The architecture is part of unlearnkit (`pip install unlearnkit`):"
        imports = "from unlearnkit.models import build_model"
        build = f"build_model({card.model!r}, num_classes={width}, in_channels={channels})"
    else:
        module, _, factory = parsed.base.partition(":")
        note = "The architecture is code of its author's, which must be importable; where it takes `in_channels` or "
        note, imports = f"{note}`in_chans`, add that it is {channels}:", "import importlib"
        build = f"getattr(importlib.import_module({module!r}), {factory!r})(num_classes={width}{options})"
    code = (
        f"{imports}\nfrom safetensors.torch import load_file\n\n"
        f'model = {build}\nmodel.load_state_dict(load_file("model.safetensors"))\nmodel.eval()\n'
    )
    fence = _fence(code, least=3)
    return f"{note}\n\n{fence}python\n{code}{fence}"


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MOST_CLASSES} more" if len(names) > MOST_CLASSES else ""
    return ", ".join(_escaped(name) for name in names[:MOST_CLASSES]) + more


def _escaped(text: str) -> str:
    """Escape every mark of Markdown, so that text makes no link, tag, table or heading."""
    flat = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
    return "".join(f"\\{c}" if c in string.punctuation else c for c in flat) or "(blank)"


def _code(text: str) -> str:
    """Return inline code for a cell of a table; bars are escaped, as they would end the cell even in code."""
    flat = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).replace("|", "\\|")
    fence = _fence(flat, least=1)
    pad = " " if "`" in flat else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def _fence(text: str, *, least: int) -> str:
    """Return a fence with more backticks than the text has in a row, so that the text cannot end it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(least, longest + 1)
