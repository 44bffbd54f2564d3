"""Decides which pictures of samples a run folder may hold; draws them, lists them and removes them.

Images, maps and points of single samples are personal data where the data may show people. They stay in memory; what is
written is a drawing, under a name that says nothing of the sample, and for such data only where it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.observe.embedding import Plane
from unlearnkit.audit.observe.grad_cam import NoAttentionLayerError
from unlearnkit.audit.observe.grad_cam_samples import looks
from unlearnkit.data import DataView
from unlearnkit.errors import ModelError
from unlearnkit.run_dir import MANIFEST, read_json
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps import drawing

PICTURES = "pictures.json"
SUFFIX = ".png"
NOISE, EMBEDDING, ATTENTION = "noise", "embedding", "attention"
QUICK = "quick"  # why one is missing: a quick audit draws none
PERSONAL = "personal"  # why a figure is missing: the data may show people, and nobody asked for it
MOST_CLASSES = 8  # of which noise is shown


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure, and the drawings that it consists of.

    Args:
        said: what `pictures.json` says of it: its `pictures`, each with its `file`, or why it is `missing`: `quick` or
            `personal` where it was left out, else a reason as `audit.json` holds them.
        files: PNG by file name.
    """

    said: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The figures of a run by name, and the reason why they may be drawn.

    Args:
        personal: whether the data may show people.
        include_images: whether pictures of samples were asked for all the same.
        figures: by name.
    """

    personal: bool
    include_images: bool
    figures: Mapping[str, Drawn]

    @classmethod
    def drawn(cls, *, personal: bool, include_images: bool, figures: Mapping[str, Callable[[], Drawn]]) -> Self:
        """Draw the figures, but none if the data may show people and no option allows it; nothing else decides this."""
        left_out = Drawn(said={"missing": PERSONAL})
        pictures = cls(personal=personal, include_images=include_images, figures={})
        found = {name: draw() if pictures.allowed else left_out for name, draw in figures.items()}
        return replace(pictures, figures=found)

    @property
    def allowed(self) -> bool:
        """Whether pictures of samples may be drawn."""
        return self.include_images or not self.personal

    def artefacts(self, kept: Mapping[str, Any] | None = None) -> dict[str, bytes | dict[str, Any]]:
        """Return the files to write; `kept` is what `pictures.json` keeps about other figures."""
        record = {
            "personal": self.personal,
            "include_images": self.include_images,
            "figures": {**(kept or {}), **{name: figure.said for name, figure in self.figures.items()}},
        }
        return {
            PICTURES: record,
            **{name: file for figure in self.figures.values() for name, file in figure.files.items()},
        }

    def replacing(self, folder: Path) -> tuple[dict[str, bytes | dict[str, Any]], list[str]]:
        """Return the files to write to a run folder, and those of earlier steps to delete.

        The noise was the method's; an audit does not draw it anew, and it stays if it may be seen.
        """
        kept: dict[str, Any] = {}
        if (folder / PICTURES).is_file():
            earlier = read_json(folder, PICTURES, "figures")["figures"]
            if NOISE in earlier:
                kept[NOISE] = earlier[NOISE] if self.allowed else {"missing": PERSONAL}
        files = self.artefacts(kept)
        # by their names, whatever the list says of them
        present = read_json(folder, MANIFEST, "artefacts")["artefacts"]
        drawn = [name for name in present if name.endswith(SUFFIX) and name not in files]
        return files, [name for name in drawn if not (self.allowed and name.startswith(f"{NOISE}-"))]


def plane(found: Mapping[str, Plane] | Doubt) -> Drawn:
    """Draw each model's samples as points, or say why there are none."""
    if isinstance(found, Doubt):
        return Drawn(said={"missing": asdict(found)})
    files = {
        f"{EMBEDDING}-{name}{SUFFIX}": drawing.plane(points_plane.points, points_plane.forgotten)
        for name, points_plane in found.items()
    }
    listed = [
        {"file": file, "model": name, "explained": list(points_plane.explained)}
        for file, (name, points_plane) in zip(files, found.items(), strict=True)
    ]
    marks = next(iter(found.values())).forgotten
    counts = {"forgotten": int(marks.sum()), "retained": int((~marks).sum())}
    return Drawn(said={**counts, "pictures": listed}, files=files)


def attention(models: Mapping[str, nn.Module], view: DataView, *, runtime: Runtime, quick: bool) -> Drawn:
    """Draw the Grad-CAM maps of each model on a few test samples, or say why not."""
    if quick:
        return Drawn(said={"missing": QUICK})
    try:
        layer, samples = looks(models, view, runtime=runtime)
    except NoAttentionLayerError:
        return Drawn(said={"missing": asdict(Doubt("no_attention_layer"))})
    except ModelError as error:
        return Drawn(said={"missing": asdict(Doubt("remark", {"text": str(error).rstrip(".")}))})
    if not samples:
        return Drawn(said={"missing": asdict(Doubt("no_test_samples"))})
    classes = view.split.request.classes
    files, listed = {}, []
    for i, look in enumerate(samples):
        name = f"{ATTENTION}-{i + 1}{SUFFIX}"
        differ = set(look.rival.values()) != {look.label}
        maps = [list(look.own.values()), *([list(look.rival_maps.values())] if differ else [])]
        files[name] = drawing.attention(look.pixels, maps)
        rivals = {model: classes[k] for model, k in look.rival.items()} if differ else {}
        listed.append({"file": name, "label": classes[look.label], "forgotten": look.forgotten, "rivals": rivals})
    return Drawn(said={"layer": layer, "models": list(models), "pictures": listed}, files=files)


def noise(images: Mapping[int, Tensor], classes: tuple[str, ...]) -> Drawn:
    """Draw each class's noise as a strip, all on one scale: black and white are at the 99th percentile.

    Args:
        images: (n, C, H, W) in units of the normalised input, by class id.
        classes: class names.
    """
    shown = dict(sorted(images.items())[:MOST_CLASSES])
    values = torch.cat([images_of_class.abs().flatten() for images_of_class in shown.values()]).numpy()
    limit = float(np.quantile(values, 0.99)) or 1.0
    files = {f"noise-{k}{SUFFIX}": drawing.strip(images_of_class, limit) for k, images_of_class in shown.items()}
    listed = [{"file": name, "label": classes[k]} for name, k in zip(files, shown, strict=True)]
    return Drawn(said={"limit": limit, "classes": len(images), "pictures": listed}, files=files)
