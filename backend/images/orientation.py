"""Which way up browsers show an image.

Chromium, asked with files of each kind, turns

- JPEG by the first Exif segment, PNG by the first eXIf chunk before the pixels: by the first
  orientation of type SHORT and count 1 with a value from 1 to 8 in the first directory;
- AVIF by its rotation and mirror properties, not by its Exif;
- nothing else: no WebP, no orientation that stands in XMP or in the "Raw profile type exif" of
  old PNG files, none of another type or count.

Other browsers turn WebP and read other integer types. The size that the editor reports tells.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.images.png import Png

_ORIENTATION = 0x0112
# Of EXIF's types those that are integers, and how struct reads them.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
_SHORT = 3
_UPRIGHT = 1


def orientation(image: Image.Image, png: Png | None, reported_size: tuple[int, int] | None) -> int:
    """The EXIF orientation, 1 to 8, that an image is shown with.

    Args:
        image: opened, not yet turned.
        png: its chunks, for a PNG.
        reported_size: (H, W) that the editor reports, None where unknown.
    """
    if image.format == "AVIF":  # Pillow writes the two properties into the Exif that it gives
        return _claimed(image.info.get("exif", b"")[6:])
    exif = _exif(image, png)
    shown = _shown(exif) if image.format != "WEBP" else _UPRIGHT
    stored_size = (image.height, image.width)
    if reported_size is None or reported_size == _turned(stored_size, shown):
        return shown
    claimed = _claimed(exif)
    for other in (claimed, _UPRIGHT):
        if reported_size == _turned(stored_size, other):
            return other
    return shown


def turn(image: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Show an image the right way up.

    Args:
        image: H x W x 3.
        orientation: 1 to 8, as in EXIF: where row 0 and column 0 of the stored image are seen.

    Returns:
        H x W x 3, or W x H x 3 for an image that lies on its side.
    """
    if is_on_its_side(orientation):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def is_on_its_side(orientation: int) -> bool:
    """Whether an image of this orientation, 1 to 8, is stored with width and height exchanged."""
    return orientation >= 5


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if is_on_its_side(orientation) else size


def _exif(image: Image.Image, png: Png | None) -> bytes:
    """The image's Exif without the "Exif" before it, empty for none."""
    if png is not None:
        return png.chunks.get(b"eXIf", b"")
    if image.format == "JPEG":
        segments = [content for name, content in getattr(image, "applist", ()) if name == "APP1"]
        return next((part[6:] for part in segments if part[:5] == b"Exif\0"), b"")
    exif: bytes = image.info.get("exif", b"")
    return exif.removeprefix(b"Exif\0\0")


def _shown(exif: bytes) -> int:
    """The orientation that Chromium reads."""
    for kind, count, value in _orientations(exif):
        if kind == _SHORT and count == 1 and value in range(1, 9):
            return value
    return _UPRIGHT


def _claimed(exif: bytes) -> int:
    """The orientation that a lenient reader finds."""
    return next((value for *_, value in _orientations(exif) if value in range(1, 9)), _UPRIGHT)


def _orientations(exif: bytes) -> list[tuple[int, int, int]]:
    """(type, count, value) of each orientation in the first directory that is an integer."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return []
    found = []
    start = struct.unpack_from(order + "I", exif, 4)[0]
    entries = struct.unpack_from(order + "H", exif, start)[0] if start + 2 <= len(exif) else 0
    for position in range(start + 2, min(start + 2 + 12 * entries, len(exif) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHI", exif, position)
        if tag == _ORIENTATION and kind in _INTEGERS:
            value = struct.unpack_from(order + _INTEGERS[kind], exif, position + 8)[0]
            found.append((kind, count, value))
    return found
