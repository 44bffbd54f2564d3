"""Loads `imagefolder:DIR`: image files in one folder for each class, without a copy or a cache on disk.

Either DIR/train/CLASS/* with DIR/test/CLASS/* (or `val`, `valid`, `validation` in place of `test`), or one set in
DIR/CLASS/* or DIR/train/CLASS/*, of which every class gives a fifth as test data (`hold_out.held_out`). The class
names are the sorted union of the folders of both sides; hidden folders are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import torch
from PIL import Image

from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.sources.decode import ImageOptions, picture_set
from unlearnkit.data.sources.hold_out import held_out
from unlearnkit.errors import DataError

TEST_FOLDERS = ("test", "val", "valid", "validation")


def load_image_folder(directory: str, options: ImageOptions) -> ImageData:
    """Return the images under `directory`.

    Raises:
        DataError: there are no class folders, or one of them holds no images, or several folders could be the test.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise DataError(
            f"Expected the folder {folder}, but there is none; imagefolder:DIR needs DIR/train/CLASS/*.jpg."
        )
    train, test = _sides(folder)
    names = sorted({*_class_folders(train), *(_class_folders(test) if test else ())})
    train_files, train_labels = _files(train, names)
    if test is not None:
        test_files, test_labels = _files(test, names)
    else:
        marked = held_out(torch.tensor(train_labels), names).tolist()
        everything = list(zip(train_files, train_labels, marked, strict=True))
        train_files, train_labels = [f for f, _, m in everything if not m], [k for _, k, m in everything if not m]
        test_files, test_labels = [f for f, _, m in everything if m], [k for _, k, m in everything if m]
        if not test_files:
            raise DataError(
                f"Expected a class with two images or more in {train}, but every class has one, so that none is left "
                "for the test; add images, or a folder `test` beside `train`."
            )

    def image_set(files: Sequence[str], labels: Sequence[int]) -> ImageSet:
        return picture_set(torch.tensor(labels), ImageFiles(files), options)

    return ImageData(
        source=f"imagefolder:{folder.absolute()}",
        classes=tuple(names),
        train=image_set(train_files, train_labels),
        test=image_set(test_files, test_labels),
        augment="crop_flip",
        preprocessing=options.preprocessing.for_pictures(),
    )


class ImageFiles:
    """Pictures in files, by path."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = pa.array(paths, type=pa.string())  # a million Python strings would be copied into every worker

    def open(self, row: int) -> Image.Image:
        """Open the file of a row; Pillow closes it when the pixels are loaded."""
        return Image.open(self._paths[row].as_py())

    def name(self, row: int) -> str:
        """Return the path of a row's file."""
        return str(self._paths[row].as_py())


def _sides(folder: Path) -> tuple[Path, Path | None]:
    tests = [name for name in TEST_FOLDERS if (folder / name).is_dir()]
    if not (folder / "train").is_dir():
        if tests:
            raise DataError(
                f"Expected a folder `train` beside `{tests[0]}` in {folder}, but there is none; "
                "add it, or name the folder that holds one folder for each class."
            )
        return folder, None
    if "test" not in tests and len(tests) > 1:
        raise DataError(
            f"Expected one folder of test images in {folder}, but got {' and '.join(tests)}; rename one to `test`."
        )
    return folder / "train", folder / tests[0] if tests else None


def _class_folders(side: Path) -> list[str]:
    from torchvision.datasets.folder import find_classes

    try:
        names = [name for name in find_classes(str(side))[0] if not name.startswith(".")]
    except FileNotFoundError:
        names = []
    if not names:
        raise DataError(f"Expected one folder for each class in {side}, but there is none; put images in CLASS/*.jpg.")
    return names


def _files(side: Path, names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return paths and class ids of one side, class by class and sorted by path."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    ids = {name: k for k, name in enumerate(names)}
    found = make_dataset(str(side), ids, extensions=IMG_EXTENSIONS, allow_empty=True)
    present = {label for _, label in found}
    empty = [name for name in _class_folders(side) if ids[name] not in present]
    if empty:
        raise DataError(
            f"Expected images in every class folder of {side}, but {empty[0]!r} has none"
            f"{f', nor have {len(empty) - 1} more' if len(empty) > 1 else ''}; add images or delete the folder."
        )
    return [path for path, _ in found], [label for _, label in found]
