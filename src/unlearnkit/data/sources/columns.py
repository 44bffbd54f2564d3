"""Finds the columns of images and labels of a table by their types, for `parquet:` and for `hf:`.

What a column holds is told by its Arrow type, and by the features that Hugging Face `datasets` writes into the schema's
metadata (key `huggingface`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from unlearnkit.class_names import all_in_one_form, repeated
from unlearnkit.data.class_lists import check_count
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import DataError

LABELS = ("label", "labels", "fine_label", "class", "target")  # what a column of labels without class names is called
PREFERRED_LABELS = ("label", "fine_label")  # of several: CIFAR-100 has coarse labels too
PREFERRED_IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where the images and the labels are.

    Args:
        image, label: names of the columns.
        names: class names that the schema has for the labels, or None.
        remarks: sentences on what was chosen among several.
    """

    image: str
    label: str
    names: tuple[str, ...] | None
    remarks: tuple[str, ...] = ()


def find_columns(schema: pa.Schema, title: str, *, image: str | None = None, label: str | None = None) -> Columns:
    """Return the columns of images and labels.

    Images are a column with the feature `Image`, or a struct with `bytes`, else one of binary values. Labels are a
    column with the feature `ClassLabel`, else one of integers or text with a name of `LABELS`.

    Args:
        schema: of the table.
        title: what messages call the table.
        image, label: the columns, where they are given.

    Raises:
        DataError: there is no such column, there are several, or the given one is of another type.
    """
    features = features_of(schema)
    image_column, images_said = _image_column(schema, features, title, image)
    label_column, labels_said = _label_column(schema, features, title, label)
    return Columns(
        image=image_column,
        label=label_column,
        names=class_names(features.get(label_column), title),
        remarks=tuple(said for said in (images_said, labels_said) if said),
    )


def class_names(feature: Any, title: str) -> tuple[str, ...] | None:
    """Return the names of a `ClassLabel` feature, or None where it has none.

    Raises:
        DataError: one stands twice, or there are too many.
    """
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list) or not names:
        return None
    check_count(len(names), title)
    twice = repeated([str(name) for name in names])
    if twice is not None:
        raise DataError(
            f"Expected distinct class names in {title}, but {twice!r} stands for more than one class; "
            "write it with distinct names."
        )
    return all_in_one_form(str(name) for name in names)


def features_of(schema: pa.Schema) -> Mapping[str, Any]:
    """Return the features of Hugging Face `datasets` by column; none where the schema has no such metadata."""
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return {}
    try:
        found = parse_json(raw)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _kind(features: Mapping[str, Any], name: str) -> str | None:
    """The class of a column's feature, such as `Image`."""
    feature = features.get(name)
    kind = feature.get("_type") if isinstance(feature, dict) else None
    return kind if isinstance(kind, str) else None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _has_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_struct(kind)
        and kind.get_field_index("bytes") >= 0
        and _is_binary(kind.field(kind.get_field_index("bytes")).type)
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, each value by itself or as a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _image_column(
    schema: pa.Schema, features: Mapping[str, Any], title: str, given: str | None
) -> tuple[str, str | None]:
    # a struct with bytes may also be a sound or a film, which then says so
    pictures = [
        field.name for field in schema if _has_bytes(field.type) and _kind(features, field.name) in (None, "Image")
    ]
    binary = [field.name for field in schema if _is_binary(field.type)]
    if given is not None:
        _check_given(schema, title, given, "--image-column")
        if given not in (*pictures, *binary):
            raise DataError(
                f"Expected a column of encoded images in {title}, but {given!r} is of the type "
                f"{_shown(schema.field(given).type)}; name one that is a struct with `bytes`, or binary, by "
                "--image-column."
            )
        return given, None
    found = pictures or binary
    if len(found) == 1:
        return found[0], None
    if PREFERRED_IMAGE in found:
        return PREFERRED_IMAGE, _chosen(title, PREFERRED_IMAGE, found, "images", "--image-column")
    if not found:
        raise DataError(
            f"Expected one column of images in {title}, but got none among {_described(schema)}; encoded images are a "
            "struct with `bytes`, or binary."
        )
    raise DataError(
        f"Expected one column of images in {title}, but got {', '.join(found)} among {', '.join(schema.names)}; choose "
        "one by --image-column."
    )


def _label_column(
    schema: pa.Schema, features: Mapping[str, Any], title: str, given: str | None
) -> tuple[str, str | None]:
    usable = [field.name for field in schema if pa.types.is_integer(field.type) or is_text(field.type)]
    if given is not None:
        _check_given(schema, title, given, "--label-column")
        if given not in usable:
            raise _wrong_labels(schema, title, given)
        return given, None
    found = [name for name in usable if _kind(features, name) == "ClassLabel"]
    found = found or [name for name in LABELS if name in usable]
    if len(found) == 1:
        return found[0], None
    for name in PREFERRED_LABELS:
        if name in found:
            return name, _chosen(title, name, found, "labels", "--label-column")
    if not found:
        named = [name for name in LABELS if name in schema.names]
        if named:
            raise _wrong_labels(schema, title, named[0])
        raise DataError(
            f"Expected one column of class labels in {title}, but got none among {_described(schema)}; name the one "
            "that holds them by --label-column."
        )
    raise DataError(
        f"Expected one column of class labels in {title}, but got {', '.join(found)} among {', '.join(schema.names)}; "
        "choose one by --label-column."
    )


def _check_given(schema: pa.Schema, title: str, given: str, option: str) -> None:
    if schema.names.count(given) != 1:
        raise DataError(
            f"Expected a column {given!r} in {title}, as {option} says, but it has "
            f"{', '.join(schema.names) or 'none'}; name one of these."
        )


def _wrong_labels(schema: pa.Schema, title: str, name: str) -> DataError:
    kind = schema.field(name).type
    if _is_list(kind):
        return DataError(
            f"Expected one label for each image in {title}, but column {name!r} holds lists of them, and a classifier "
            "here gives one class; name another column by --label-column."
        )
    return DataError(
        f"Expected integer labels or text in {title}, but column {name!r} is of the type {_shown(kind)}; name another "
        "column by --label-column, or write this one as integers."
    )


def _chosen(title: str, name: str, found: list[str], what: str, option: str) -> str:
    others = ", ".join(repr(other) for other in found if other != name)
    return (
        f"Of the columns of {title} that could hold the {what}, {name!r} is read, not {others} ({option} changes that)."
    )


def _described(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({_shown(field.type)})" for field in schema) or "no columns"


def _shown(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 60 else f"{text[:57]}..."
