"""Reads one image as an array: the only module that imports Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gradcli.errors import UserError
from gradcli.extras.missing import not_installed

if TYPE_CHECKING:
    from PIL.Image import Image

#: What an image is converted to; it has a letter per channel.
Mode = Literal["L", "RGB"]
#: Height and width.
Size = tuple[int, int]

#: Decoders that are tried, by the content of a file. Few: each one reads files of strangers.
_FORMATS: Final = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
#: Kinds of pixels that are bytes. Pillow clips those of 16 and 32 bits to 255 without a word.
_BYTE_MODES: Final = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
#: A photograph has 50 million. A file of a few kilobytes can announce billions.
_MOST_PIXELS: Final = 2**26


def image_size(path: Path) -> Size:
    """Return the height and width that a file announces; its pixels are not read.

    Raises:
        UserError: as for `read_image`.
    """
    with _opened(path) as image:
        return image.height, image.width


def read_image(path: Path, mode: Mode, size: Size | None = None) -> NDArray[np.uint8]:
    """Read an image.

    Args:
        path: the file.
        mode: what it is converted to.
        size: what it is resized to after that, by the bilinear filter; None leaves its size.

    Returns:
        uint8 (channels, height, width). The orientation that a camera noted (EXIF) is not applied.

    Raises:
        UserError: if the file is no image of one of the formats, is damaged or truncated, has
            several frames, pixels of more than 8 bits, or too many pixels, or if Pillow is not
            installed.
    """
    with _opened(path) as image:
        image.load()
        pixels = np.asarray(_converted(image, mode, size))
    return pixels[np.newaxis] if mode == "L" else pixels.transpose(2, 0, 1)


def _converted(image: Image, mode: Mode, size: Size | None) -> Image:
    from PIL.Image import Resampling

    converted = image.convert(mode)
    if size is None or size == (image.height, image.width):
        return converted
    return converted.resize((size[1], size[0]), Resampling.BILINEAR)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Open an image whose header is as expected; what fails while it is open is told in words."""
    try:
        import PIL.Image
    except ImportError as error:
        raise not_installed("Pillow", "images", error, what="This format") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is damaged, which nobody reads
            with PIL.Image.open(path, formats=_FORMATS) as image:
                if objection := _objection_to(image):
                    raise UserError(objection, where=str(path), hint=_remedy(image))
                yield image
    except UserError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise UserError(
            f"This is not an image, or a damaged one; expected {', '.join(_FORMATS)}.",
            where=str(path),
            hint="remove it, or begin its name with a dot to leave it out",
        ) from error
    except Exception as error:
        # Pillow's decoders fail in many ways: OSError, SyntaxError, ValueError, struct.error, ...
        raise UserError(f"The image cannot be read: {error}.", where=str(path)) from error


def _remedy(image: Image) -> str:
    """Return what to do about an image that is not read."""
    if image.mode in _BYTE_MODES:
        return "remove it, or begin its name with a dot to leave it out"
    return (
        "save 8 bits per channel; or all images as one array, which keeps their numbers: "
        "numpy.savez('FILE.npz', x=images, y=labels), with data=npz data.path=FILE.npz"
    )


def _objection_to(image: Image) -> str:
    """Say why an image is not read, by its header; empty if it is."""
    pixels = image.width * image.height
    if pixels > _MOST_PIXELS:
        return (
            f"The image announces {image.height:,} x {image.width:,} pixels; at most "
            f"{_MOST_PIXELS:,} are read."
        )
    if image.mode not in _BYTE_MODES:
        return (
            f"The pixels of the image are of the kind {image.mode}; those of 8 bits were expected, "
            "because others would be cut off at 255."
        )
    # A phone stores a photograph with a preview as two frames (MPO); the first is the photograph.
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) != 1:
        return f"The image has {frames} frames; one was expected."
    return ""
