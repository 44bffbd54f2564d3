"""Loads `imagefolder:DIR`: image files in one folder for each class, without a copy or a cache on disk.

Either DIR/train/CLASS/* with DIR/test/CLASS/* (or `val`, `valid`, `validation` in place of `test`), or one set in
DIR/CLASS/* or DIR/train/CLASS/*, of which every class gives a fifth as test data (`hold_out.held_out`). The classes are
the folders of both sides, sorted by their names as they stand on disk, as torchvision does. Names that begin with a dot
are passed over; which files are read, `formats` says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import torch
from PIL import Image

from unlearnkit.class_names import all_in_one_form, in_one_form, listed, numeric_order
from unlearnkit.data.class_lists import check_count
from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.sources.decode import ImageOptions, picture_set
from unlearnkit.data.sources.folder_layout import entries, sides_of
from unlearnkit.data.sources.formats import open_picture
from unlearnkit.data.sources.hold_out import held_out
from unlearnkit.data.sources.image_files import FoundImages, images_below
from unlearnkit.data.sources.tables import FolderTable
from unlearnkit.data.sources.unread import Unread
from unlearnkit.errors import DataError


def load_image_folder(directory: str, options: ImageOptions) -> ImageData:
    """Return the images under `directory`.

    Raises:
        DataError: there are no class folders, or one of them holds no images and is not in the model's class list, or
            several folders could be the test.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise DataError(
            f"Expected the folder {folder}, but there is none; imagefolder:DIR needs DIR/train/CLASS/*.jpg."
        )
    layout = sides_of(folder)
    folders = {side: _class_folders(side) for side in (layout.train, layout.test) if side is not None}
    names = _class_order(list(folders.values()))
    check_count(len(names), str(folder))
    unread = Unread()
    for name in layout.loose:
        unread.add(name)
    unread.add_folders(layout.hidden)
    train_files, train_labels = _files(layout.train, folders[layout.train], names, options, unread)
    if layout.test is not None:
        test_files, test_labels = _files(layout.test, folders[layout.test], names, options, unread)
    else:
        marked = held_out(torch.tensor(train_labels), names).tolist()
        everything = list(zip(train_files, train_labels, marked, strict=True))
        train_files, train_labels = [f for f, _, m in everything if not m], [k for _, k, m in everything if not m]
        test_files, test_labels = [f for f, _, m in everything if m], [k for _, k, m in everything if m]
        if not test_files:
            raise DataError(
                f"Expected a class with two images or more in {layout.train}, but every class has one, so that none is "
                "left for the test; add images, or a folder `test` beside `train`."
            )

    def image_set(files: Sequence[str], labels: Sequence[int]) -> ImageSet:
        return picture_set(torch.tensor(labels), ImageFiles(files), options)

    remarks = [
        f"{unread.described()}." if unread.described() else "",
        f"Folders beside the training data were not read: {listed(layout.others)}." if layout.others else "",
        *(_forms_remark(found) for found in folders.values()),
        *([] if options.classes else _order_remarks(names)),
    ]
    return ImageData(
        source=f"imagefolder:{folder.absolute()}",
        classes=tuple(names),
        train=image_set(train_files, train_labels),
        test=image_set(test_files, test_labels),
        augment="crop_flip",
        preprocessing=options.preprocessing.for_pictures(),
        remarks=tuple(remark for remark in remarks if remark),
        tables={"train": FolderTable(folder, train_files), "test": FolderTable(folder, test_files)},
    )


class ImageFiles:
    """Pictures in files, by path."""

    def __init__(self, paths: Sequence[str]) -> None:
        # bytes, as a name on disk need be no text; a million Python strings would be copied into every worker
        self._paths = pa.array([os.fsencode(path) for path in paths], type=pa.binary())

    def open(self, row: int) -> Image.Image:
        """Open the file of a row; Pillow closes it when the pixels are loaded."""
        return open_picture(os.fsdecode(self._paths[row].as_py()))

    def name(self, row: int) -> str:
        """Its path."""
        return str(self._paths[row].as_py().decode(errors="replace"))


def _class_folders(side: Path) -> dict[str, list[str]]:
    """Names of folders on disk by class: of several that differ in Unicode form alone, all belong to the class."""
    found: dict[str, list[str]] = {}
    for name in entries(side).folders:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"Expected folder names in UTF-8 in {side}, but {os.fsencode(name)!r} is not; rename the folder."
            ) from error
        found.setdefault(in_one_form(name), []).append(name)
    if not found:
        raise DataError(f"Expected one folder for each class in {side}, but there is none; put images in CLASS/*.jpg.")
    return found


def _class_order(sides: Sequence[Mapping[str, Sequence[str]]]) -> list[str]:
    """Class names in the order of the folders on disk, as the model was trained on them by other tools."""
    on_disk: dict[str, str] = {}
    for folders in sides:
        for name, spellings in folders.items():
            on_disk.setdefault(name, spellings[0])
    return sorted(on_disk, key=on_disk.__getitem__)


def _files(
    side: Path, folders: Mapping[str, Sequence[str]], names: Sequence[str], options: ImageOptions, unread: Unread
) -> tuple[list[str], list[int]]:
    """Paths and class ids of a side, class by class and sorted by path.

    A folder without images is as no folder where the model's class list has its name; else it is a mistake.
    """
    inside = entries(side)
    for name in inside.files:
        unread.add(name)
    unread.add_folders(inside.hidden_folders)
    listed_classes = all_in_one_form(options.classes or ())
    paths: list[str] = []
    labels: list[int] = []
    empty: dict[str, FoundImages] = {}
    for label, name in enumerate(names):
        found = FoundImages(unread=Unread())
        for folder in folders.get(name, ()):
            images_below(str(side / folder), found)
        unread.join(found.unread)
        paths += found.paths
        labels += [label] * len(found.paths)
        if name in folders and not found.paths and name not in listed_classes:
            empty[name] = found
    if empty:
        first, found = next(iter(empty.items()))
        there = found.unread.described()
        raise DataError(
            f"Expected images in every class folder of {side}, but {first!r} has none"
            f"{f' ({there})' if there else ''}{f', nor have {len(empty) - 1} more' if len(empty) > 1 else ''}; "
            "add images or delete the folder, or, if the model has the class all the same, name all of its classes "
            "with --classes."
        )
    if not paths:
        raise DataError(f"Expected images in {side}, but all of its class folders are empty; add images.")
    return paths, labels


def _forms_remark(folders: Mapping[str, Sequence[str]]) -> str:
    """Say which folders were read as one class."""
    several = [name for name, spellings in folders.items() if len(spellings) > 1]
    if not several:
        return ""
    return f"Folders whose names differ in Unicode form alone were read as one class: {listed(several)}."


def _order_remarks(names: Sequence[str]) -> list[str]:
    """Say where a model made elsewhere may have its outputs in another order than the folders."""
    remarks = []
    ordered = numeric_order(names)
    if ordered is not None:
        remarks.append(
            f"The class folders are numbers in the order of text ({', '.join(names[:4])}, ...); a model whose outputs "
            "are in the order of the numbers needs its class list (--classes)."
        )
    if list(names) != sorted(names):
        remarks.append(
            "The class folders are in the order of their names as they stand on disk, where letters with accents are "
            "spelled apart; a model that was trained on another spelling may need its class list (--classes)."
        )
    return remarks
