"""Pillow's kinds of pixels, brought to 8 bits of grey, RGB or RGBA and onto a white background."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.images.formats import Box


def plain(image: Image.Image) -> Image.Image:
    """An image as mode L, RGB, or RGBA where parts of it may be transparent."""
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's convert() would clip
        return _from_16_bits(image)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def with_transparent_color(png: bytes) -> Image.Image:
    """RGBA of a PNG of 16-bit colours, one of which is transparent.

    Pillow cuts the colours to 8 bits before it compares them.

    Raises:
        ValueError: it cannot be decoded.
    """
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape[2:] != (4,):
        raise ValueError("damaged pixels of 16 bits")
    eight_bits = decoded.view(np.uint8)[..., int(sys.byteorder == "little") :: 2]  # the upper ones
    return Image.fromarray(np.ascontiguousarray(eight_bits[..., [2, 1, 0, 3]]))


def placed(image: Image.Image, canvas: tuple[int, int], frame: Box) -> Image.Image:
    """An animation's first frame on its canvas, which is transparent around the frame.

    Args:
        image: of the size of the frame, or of the canvas with anything around the frame.
        canvas: (W, H).
        frame: (left, top, right, bottom) on the canvas.
    """
    part = image.crop(frame) if image.size == canvas else image
    whole = Image.new("RGBA", canvas)
    whole.paste(plain(part), frame[:2])
    return whole


def on_white(image: Image.Image) -> npt.NDArray[np.uint8]:
    """H x W x 3 uint8 RGB of an image of mode L, RGB or RGBA."""
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        image = white
    return np.asarray(image.convert("RGB"))


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is None:
        return grey
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("RGBA", (grey, grey, grey, Image.fromarray(alpha)))
