"""ModelCard: what is stored with weights, such as class list, image shape and preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

from unlearnkit.data.images import LARGEST

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What belongs to a model besides its weights.

    Args:
        model: name it was built with.
        classes: class names in the order of its outputs.
        forgotten: classes its weights must not know: forgotten by requests, or left out of training.
        shape: (C, H, W) of its images.
        image_size: height and width that images are resized to, or None where they are taken as they are.
        mean, std: normalisation of its images, per channel.
        crop_pct: share of the resized image that the centre crop keeps, in (0, 1].
        interpolation: how images are resized.
    """

    model: str
    classes: tuple[str, ...]
    forgotten: tuple[str, ...]
    shape: tuple[int, int, int]
    image_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 1.0
    interpolation: str = "bilinear"


def check_card(card: ModelCard) -> None:
    """Raise ValueError where a field is of the wrong kind or contradicts another."""

    def all_of(values: object, kinds: type | tuple[type, ...]) -> bool:
        return isinstance(values, tuple) and all(isinstance(v, kinds) for v in values)

    sound = {
        "model": isinstance(card.model, str),
        "classes": all_of(card.classes, str) and 0 < len(card.classes) == len(set(card.classes)),
        "forgotten": all_of(card.forgotten, str) and set(card.forgotten) <= set(card.classes),
        "shape": all_of(card.shape, int) and len(card.shape) == 3 and 0 < min(card.shape) <= max(card.shape) <= LARGEST,
        "image_size": card.image_size is None or (isinstance(card.image_size, int) and 0 < card.image_size <= LARGEST),
        "mean": all_of(card.mean, (int, float)),
        "std": all_of(card.std, (int, float)),
        "crop_pct": isinstance(card.crop_pct, int | float) and 0 < card.crop_pct <= 1,
        "interpolation": card.interpolation in INTERPOLATIONS,
    }
    wrong = [name for name, good in sound.items() if not good]
    if wrong:
        raise ValueError(f"{wrong[0]} is {getattr(card, wrong[0])!r}")
