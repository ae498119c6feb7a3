"""What is left of a damaged image file, as browsers show it: what is missing is transparent."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.images.errors import ImageError
from backend.images.formats import Box, EncodedImage
from backend.images.pixels import plain

_END_OF_JPEG = b"\xff\xd9"
_JPEG_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xda-\xfe]")  # the markers that a length follows
# Height and width of the blocks that a pixel of an interlaced file fills until finer ones come,
# the finest first.
_ADAM7 = ((2, 1), (2, 2), (4, 2), (4, 4), (8, 4), (8, 8))
_LARGEST_BLOCK = 8
_GIF_PASSES = ((2, 1), (4, 1), (8, 1))

_STRIP_PIXELS = 1 << 20

_Pixels = npt.NDArray[np.uint8]


def load_part(encoded: EncodedImage, frame: Box) -> Image.Image:
    """Decode a damaged file as far as that is possible.

    Decoders leave alone the pixels that they do not reach. So the file is decoded onto two
    backgrounds: where these show, a pixel is missing.

    Args:
        encoded: the file.
        frame: of :meth:`EncodedImage.frame`.

    Returns:
        RGBA of the frame.

    Raises:
        ImageError: not even a part of the image can be decoded.
    """
    first, second = (_decode_onto(_completed(encoded), value, frame) for value in (0, 1))
    blocks = _blocks(encoded)
    shown = Image.new("RGBA", first.size)
    is_empty = True
    rows = max(_LARGEST_BLOCK, _STRIP_PIXELS // first.width // _LARGEST_BLOCK * _LARGEST_BLOCK)
    for top in range(0, first.height, rows):  # by strips: copies of the whole take memory
        box = (0, top, first.width, min(top + rows, first.height))
        part = first.crop(box)
        missing = _differs(part, second.crop(box))
        if not missing.all():
            is_empty = False
            pixels = np.array(plain(part).convert("RGBA"))
            _fill_blocks(pixels, missing, blocks)
            shown.paste(Image.fromarray(pixels), box[:2])
    if is_empty:
        raise ImageError("the file is damaged before its first pixels: send the image again")
    return shown


def _completed(encoded: EncodedImage) -> EncodedImage:
    """The file so that Pillow's decoders give all the pixels that came.

    Of a progressive JPEG they give none before they see its end, of a GIF's block none before its
    last byte. Of PNG they keep back what stands near a mistake.
    """
    if encoded.format.name == "GIF":
        return replace(encoded, content=_with_whole_block(encoded))
    if encoded.png is not None:
        return replace(encoded, png=encoded.png.inflated())
    if encoded.format.name == "JPEG" and encoded.open().info.get("progressive"):
        return replace(encoded, content=_without_cut_segment(encoded.content) + _END_OF_JPEG)
    return encoded


def _with_whole_block(encoded: EncodedImage) -> bytes:
    """A GIF file whose last block is as short as what came of the block."""
    content = encoded.content
    position = encoded.open().tile[0].offset  # of the first block's length
    while position < len(content) and content[position]:
        left = len(content) - position - 1
        if content[position] > left:
            return content[:position] + bytes([left]) + content[position + 1 :]
        position += 1 + content[position]
    return content


def _without_cut_segment(content: bytes) -> bytes:
    """A JPEG file without the segment that its end cuts: that segment would swallow a new end."""
    position = 2
    while (marker := _JPEG_SEGMENT.search(content, position)) is not None:
        length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        position = marker.end() + max(2, length)
        if position > len(content):
            return content[: marker.start()]
    return content


def _decode_onto(encoded: EncodedImage, value: int, frame: Box) -> Image.Image:
    image = encoded.open()
    image.im = Image.new(image.mode, image.size, value).im
    try:
        image.load()
    except Exception:  # decoders raise whatever a broken file leads them to
        image.tile = []  # Pillow takes the image as loaded
    if image.palette is not None:
        image.palette.dirty = 1  # GIF's reader gave the palette to a picture that it dropped
    is_part = encoded.format.name == "GIF"  # the others give the frame alone
    return image.crop(frame) if is_part else image


def _differs(first: Image.Image, second: Image.Image) -> npt.NDArray[np.bool_]:
    """H x W, True where two images of one size are unlike."""
    differs = np.asarray(first) != np.asarray(second)
    return np.asarray(np.atleast_3d(differs).any(axis=2), np.bool_)


def _blocks(encoded: EncodedImage) -> tuple[tuple[int, int], ...]:
    if not encoded.is_interlaced:
        return ()
    return _GIF_PASSES if encoded.format.name == "GIF" else _ADAM7


def _fill_blocks(
    pixels: _Pixels, missing: npt.NDArray[np.bool_], blocks: tuple[tuple[int, int], ...]
) -> None:
    """Copy to each missing pixel the one at the top left of its smallest block that came."""
    left = missing.copy()
    for height, width in blocks:
        rows, columns = left.nonzero()
        from_rows, from_columns = rows // height * height, columns // width * width
        came = ~missing[from_rows, from_columns]
        pixels[rows[came], columns[came]] = pixels[from_rows[came], from_columns[came]]
        left[rows[came], columns[came]] = False
    pixels[left] = 0
