"""Reads a folder of images, one sub-folder per class: `ROOT/train/cat/1.png` or `ROOT/cat/1.png`.

Names that begin with a dot, and what systems leave in folders (Windows `Thumbs.db` and
`desktop.ini`, macOS `__MACOSX`), are left out. Everything else in the folder of a class must be an
image, whatever its name: a file that is left out silently would be missed by nobody. Files beside
the folders of classes, such as a README, are left out. Folders and images may be links; nothing is
written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from gradcli.data.formats.bounded import refuse_too_large
from gradcli.data.formats.example_parts import ExampleParts, Examples
from gradcli.data.formats.image_file import Mode, Size, image_size, read_image
from gradcli.errors import UserError, nearest

_PARTS: Final = ("train", "val", "test")
_LEFT_BY_SYSTEMS: Final = {"thumbs.db", "desktop.ini", "__macosx"}
_NAMES_SHOWN: Final = 8


def read_image_folder(
    folder: Path, *, mode: Mode = "RGB", size: Sequence[int] | None = None
) -> ExampleParts:
    """Read all images of a folder.

    With a folder `train` that holds folders, the parts are `train`, `val` and `test`, the last two
    if they are there. Otherwise each folder is a class, and all images are for training.

    Args:
        folder: ROOT.
        mode: `L` for grey, `RGB` for colour. Images of the other kind are converted, grey as
            0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); transparency is dropped.
        size: height and width to resize to, by Pillow's bilinear filter, which averages when it
            makes smaller; the sides' ratio is not kept. None: all images must have one size.

    Returns:
        Images uint8 (n, 1 or 3, height, width), targets int64 (n,): indices into the sorted
        names of the training classes. Images are in the order of their classes, then names, both
        sorted by code point.

    Raises:
        UserError: if the folder is not laid out so, an image cannot be read or has another size,
            or Pillow is not installed.
    """
    wanted = _checked_size(size)
    folders = _part_folders(folder)
    files = {part: _files_by_class(path) for part, path in folders.items()}
    classes = tuple(files["train"])
    for part, by_class in files.items():
        if unknown := [name for name in by_class if name not in classes]:
            raise UserError(
                f"The class '{unknown[0]}' has no training image.",
                where=str(folders[part] / unknown[0]),
                choices=nearest(unknown[0], classes) or classes[:3],
            )
    first = next(iter(files["train"].values()))[0]
    shape = wanted or image_size(first)
    count = sum(len(paths) for by_class in files.values() for paths in by_class.values())
    per_image = shape[0] * shape[1] * len(mode)
    refuse_too_large(
        count * per_image, f"{count:,} images of {shape[0]} x {shape[1]} pixels", folder
    )
    parts = {
        part: _read_part(by_class, classes, mode, shape, None if wanted else first)
        for part, by_class in files.items()
    }
    return ExampleParts(**parts)


def _read_part(
    by_class: dict[str, list[Path]],
    classes: tuple[str, ...],
    mode: Mode,
    shape: Size,
    like: Path | None,
) -> Examples:
    """Read the images of a part; without `like`, each is resized to `shape`."""
    paths = [path for paths in by_class.values() for path in paths]
    images: NDArray[np.uint8] = np.empty((len(paths), len(mode), *shape), dtype=np.uint8)
    for image, path in zip(images, paths, strict=True):
        pixels = read_image(path, mode, None if like else shape)
        if like and pixels.shape[1:] != shape:
            height, width = pixels.shape[1:]
            raise UserError(
                f"The image has {height} x {width} pixels (height x width), but {like} has "
                f"{shape[0]} x {shape[1]}.",
                where=str(path),
                hint=f"data.size=[{shape[0]},{shape[1]}] resizes all images",
            )
        image[:] = pixels
    counts = torch.tensor([len(by_class.get(name, ())) for name in classes])
    labels = torch.arange(len(classes)).repeat_interleave(counts)
    files = tuple(str(path) for path in paths)
    return Examples(torch.from_numpy(images), labels, classes, files=files)


def _checked_size(size: Sequence[int] | None) -> Size | None:
    if size is None:
        return None
    if len(size) != 2 or not all(isinstance(one, int) and one > 0 for one in size):
        raise UserError(
            f"{list(size)} is no size of an image.", where="data.size", hint="data.size=[32,32]"
        )
    return size[0], size[1]


def _part_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each part that is there.

    Raises:
        UserError: if there is no folder, or a folder beside `train` is no part.
    """
    inner = [path.name for path in _listed(folder) if path.is_dir()]
    if "train" not in inner or not any(path.is_dir() for path in _listed(folder / "train")):
        return {"train": folder}
    if strange := [name for name in inner if name not in _PARTS]:
        raise UserError(
            f"Beside the folder train there is {strange[0]}; expected only {', '.join(_PARTS)}.",
            where=str(folder / strange[0]),
            choices=nearest(strange[0], _PARTS),
        )
    return {part: folder / part for part in _PARTS if part in inner}


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class, both in order.

    Raises:
        UserError: if there is no class, or one has no image, or holds a folder.
    """
    classes = [path for path in _listed(folder) if path.is_dir()]
    if not classes:
        names = [path.name for path in _listed(folder)]
        holds = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        raise UserError(
            f"There is no folder of a class. The folder holds {holds or 'nothing'}.",
            where=str(folder),
            hint="put the images of each class into a folder with its name",
        )
    found = {}
    for path in classes:
        found[path.name] = images = _listed(path)
        if not images:
            raise UserError(
                f"The class '{path.name}' has no image.",
                where=str(path),
                hint="remove the folder, or put images into it",
            )
        for image in images:
            if not image.is_file():
                raise UserError(
                    "In the folder of a class, an image was expected; this is "
                    f"{'a folder' if image.is_dir() else 'no file that can be read'}.",
                    where=str(image),
                    hint="images directly in the folder of their class",
                )
    return found


def _listed(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted by name, without what is hidden.

    Raises:
        UserError: if it cannot be listed.
    """
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.name.lower() not in _LEFT_BY_SYSTEMS
        )
    except OSError as error:
        raise UserError(
            f"The folder cannot be read: {error.strerror or error}.", where=str(folder)
        ) from error
