"""Image files to arrays: the first frame, upright, RGB."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

# The files of a folder that are taken for images.
SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)

_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
# Pillow raises all of these on damaged files, and the last on more pixels than it decodes.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


def decode(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    Args:
        content: the bytes of the file.
        name: for the sentence of an error: a path or a URL.

    Returns:
        H x W x 3 uint8 RGB, turned as the EXIF orientation says. Transparent parts are white.

    Raises:
        ValueError: Pillow cannot read the file.
    """
    try:
        with Image.open(BytesIO(content)) as file:
            return from_pillow(file)
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is no image that Pillow can read") from error
    except _DAMAGED as error:
        raise ValueError(f"{name} cannot be decoded: {error}") from error


def from_pillow(image: Image.Image) -> npt.NDArray[np.uint8]:
    """A Pillow image as :func:`decode` gives it."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _SIXTEEN_BITS:  # Pillow would cut every value above 255 to white
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright)
    return np.array(upright.convert("RGB"))


def check_array(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same array, if it is an image.

    Raises:
        ValueError: it is not H x W x 3 uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f"an image array must be H x W x 3 uint8 in RGB, not {image.shape} {image.dtype}"
        )
    return image
