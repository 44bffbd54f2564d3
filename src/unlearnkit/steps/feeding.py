"""Says in one line how images are fed to a model, and where each of the values comes from."""

from __future__ import annotations

from unlearnkit.data import ImageData
from unlearnkit.data.preprocessing import RECORDED, Origin

NAMES = 5  # of classes that the line shows


def origins_record(data: ImageData, classes: Origin) -> dict[str, str]:
    """Where each value came from, by its key in config.json."""
    fields = {**RECORDED, "channels": "channels"}
    return {key: data.origins[name].value for key, name in fields.items() if name in data.origins} | {
        "classes": classes.value
    }


def feeding_line(data: ImageData, classes: Origin) -> str:
    """One line on size, crop, interpolation, normalisation, channels and order of classes, each with its origin.

    Args:
        data: its shape is known.
        classes: where the order of the classes comes from.
    """
    fed, (channels, height, width) = data.preprocessing, data.shape
    values = {
        "size": f"{height} x {width} pixels",
        "crop": "no crop" if fed.crop == 1 else f"crop {fed.crop:g}",
        "interpolation": fed.interpolation,
        "mean": f"mean {_listed(fed.mean)}",
        "std": f"std {_listed(fed.std)}",
        "channels": f"{channels} channel{'s' if channels > 1 else ''}",
    }
    facts = [f"{text} ({data.origins[name].value})" if name in data.origins else text for name, text in values.items()]
    order = ", ".join(data.classes[:NAMES]) + (f" ... {data.classes[-1]}" if len(data.classes) > NAMES else "")
    return f"images: {', '.join(facts)}; {len(data.classes)} classes in the order {order} ({classes.value})"


def _listed(values: tuple[float, ...]) -> str:
    distinct = values[:1] if len(set(values)) == 1 else values
    return ",".join(f"{value:.6g}" for value in distinct)
