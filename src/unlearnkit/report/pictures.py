"""Shows the pictures of samples in the run folder, or why it has none: noise, points, Grad-CAM maps."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from typing import Any

from unlearnkit.errors import OutputError
from unlearnkit.report.facts import Run
from unlearnkit.report.panel import Image, Panel, Picture
from unlearnkit.report.sentences import filled, marked, read_doubt
from unlearnkit.report.svg import point
from unlearnkit.report.text import isolated, listed, number, percent
from unlearnkit.run_dir import read_artefact

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def figures(run: Run) -> list[Panel]:
    """Return the figures of `pictures.json`, in a fixed order; none for a folder of a version that had no pictures.

    Raises:
        OutputError: a picture is missing, is no PNG, or is not in the folder.
    """
    listed_figures = (run.pictures or {}).get("figures") or {}
    return [_panel(run, key, listed_figures[key], make) for key, make in MAKERS.items() if key in listed_figures]


def _panel(run: Run, key: str, said: Mapping[str, Any], make: Callable[[Run, Mapping[str, Any]], Panel]) -> Panel:
    if "missing" in said:
        reason = said["missing"]
        known = run.words.LEFT_OUT.get(f"{reason}/{key}") if isinstance(reason, str) else None
        if known is not None:
            return Panel(key=key, missing=known)
        why = marked(read_doubt(reason, "pictures.json"), run.words)
        return Panel(key=key, missing=filled(run.words.NOT_AVAILABLE, why))
    return make(run, said)


def noise(run: Run, said: Mapping[str, Any]) -> Panel:
    """Show one strip of noise images for each class."""
    words = run.words
    pictures = [
        Picture(name=name, image=_image(run, entry, name))
        for entry in said.get("pictures") or ()
        for name in [words.NOISE_OF.format(_label(entry))]
    ]
    found = words.NOISE_SCALE.format(number(float(said.get("limit") or 0)))
    more = int(said.get("classes") or 0) - len(pictures)
    if more > 0:
        found = words.NOTES.format(found, words.MORE_CLASSES.format(more))
    return Panel(key="noise", pictures=pictures, found=found)


def embedding(run: Run, said: Mapping[str, Any]) -> Panel:
    """Show one plane of points for each model."""
    words = run.words
    counts = int(said.get("forgotten") or 0), int(said.get("retained") or 0)
    pictures = []
    for entry in said.get("pictures") or ():
        model = words.MODELS.get(str(entry.get("model")), str(entry.get("model")))
        along = [percent(float(share)) for share in entry.get("explained") or ()]
        note = words.EXPLAINED.format(listed(along, words)) if along else ""
        pictures.append(Picture(image=_image(run, entry, words.PLANE_OF.format(model, *counts)), name=model, note=note))
    marks = tuple((point(kind), name) for kind, name in words.GROUPS.items())
    return Panel(key="embedding", pictures=pictures, marks=marks, found=_stand_ins(run))


def attention(run: Run, said: Mapping[str, Any]) -> Panel:
    """Show one sample after another: the image, and each model's maps for two classes."""
    words = run.words

    def called(model: Any) -> str:
        return words.NAMES.get(str(model), str(model))

    heads = (words.IMAGE, *map(called, said.get("models") or ()))
    pictures = []
    for entry in said.get("pictures") or ():
        rivals: Mapping[str, Any] = entry.get("rivals") or {}
        name = words.SAMPLE_OF["forgotten" if entry.get("forgotten") else "retained"].format(_label(entry))
        note = words.SPEAKS_FOR.format(_label(entry))
        if rivals:
            below = [words.RIVAL.format(called(model), isolated(str(label))) for model, label in rivals.items()]
            note = words.TWO_ROWS.format(_label(entry), listed(below, words))
        image = _image(run, entry, words.FOUND[1].format(name, note))
        pictures.append(Picture(image=image, name=name, note=note, heads=heads))
    found = words.NOTES.format(words.ATTENTION_LAYER.format(said.get("layer")), _stand_ins(run)).rstrip()
    return Panel(key="attention", pictures=pictures, found=found)


MAKERS = {"embedding": embedding, "attention": attention, "noise": noise}


def _stand_ins(run: Run) -> str:
    return run.words.STAND_INS if (run.audit or {}).get("stand_ins") else ""


def _label(one: Mapping[str, Any]) -> str:
    return isolated(str(one.get("label")))


def _image(run: Run, one: Mapping[str, Any], said: str) -> Image:
    """Read a PNG of the folder; `said` is its description."""
    name = str(one.get("file"))
    content = read_artefact(run.folder, name)
    if not content.startswith(SIGNATURE) or len(content) < 24:
        raise OutputError(f"Expected a PNG of the run folder {run.folder}, but {name!r} is none; run the audit again.")
    width, height = struct.unpack(">II", content[16:24])
    source = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    return Image(source=source, said=said, width=width, height=height)
