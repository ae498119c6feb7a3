"""Image files as browsers show them: formats, sizes, colours, transparency, damage.

Chromium decides: the tests of this module ask it with files of each kind.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

from backend.images.color import profile, to_srgb
from backend.images.damage import load_part
from backend.images.errors import ImageError
from backend.images.formats import EncodedImage, read
from backend.images.orientation import is_on_its_side, orientation, turn
from backend.images.pixel_budget import PixelBudget
from backend.images.pixels import on_white, placed, plain, with_transparent_color
from model.transforms import input_size

logger = logging.getLogger(__name__)

# Of one image, or of what costs as much: see EncodedImage.weight.
MAX_PIXELS = 178_956_970
# Of all images that threads decode at the same time. A larger image is decoded alone.
_budget = PixelBudget(48_000_000)

_DAMAGE_WEIGHT = 4  # a damaged file is decoded twice, and what is missing is looked for
_STRIP_PIXELS = 1 << 20
# JPEG is decoded at a half, a quarter or an eighth where so many times the wanted side is left.
_OVERSAMPLING = 2

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class ScaledImage:
    """An image at the size that the network sees.

    Attributes:
        image: h x w x 3 uint8 RGB.
        original_size: (H, W) of the whole image as browsers show it.
    """

    image: npt.NDArray[np.uint8]
    original_size: tuple[int, int]


def decode(content: bytes, reported_size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Decode an image file as a browser shows it.

    The first frame, turned by its orientation, its colours as sRGB, transparent parts on white,
    16-bit channels cut to their upper 8 bits. Of a damaged file the part that browsers show, the
    rest white, with a warning in the log.

    Args:
        content: of the file.
        reported_size: (H, W) that the editor reports. Where browsers differ in the orientation,
            the orientation that gives this size counts.

    Returns:
        H x W x 3 uint8 RGB.

    Raises:
        ImageError: browsers do not show the file, or it has more than ``MAX_PIXELS``.
    """
    return _decode(content, None, reported_size).image


def decode_scaled(
    content: bytes, longest_side: int, reported_size: tuple[int, int] | None = None
) -> ScaledImage:
    """Decode an image file like :func:`decode`, in a fraction of the memory, for the network.

    Args:
        content: of the file.
        longest_side: of the result in pixels. Smaller images keep their size.
        reported_size: as for :func:`decode`.

    Raises:
        ImageError: as for :func:`decode`.
    """
    return _decode(content, longest_side, reported_size)


def shown_size(content: bytes, reported_size: tuple[int, int] | None = None) -> tuple[int, int]:
    """(H, W) of an image as a browser shows it, from the head of its file.

    Args:
        content, reported_size: as for :func:`decode`.

    Raises:
        ImageError: browsers do not show the file. Damage to its pixels is not seen.
    """
    encoded = read(content)
    try:
        view = _view(encoded, encoded.open(), None, reported_size)
    except ImageError:
        raise
    except Exception as error:
        raise _unreadable(content, error) from error
    return view.shown_size


@dataclass(frozen=True)
class _View:
    """How the pixels of a file are shown. Sizes are of the image before it is turned."""

    size: tuple[int, int]  # (H, W)
    orientation: int
    profile: bytes | None
    longest_side: int | None

    @property
    def shown_size(self) -> tuple[int, int]:
        """(H, W) after the image is turned."""
        return self.size[::-1] if is_on_its_side(self.orientation) else self.size

    def show(self, image: Image.Image, box: Box) -> ScaledImage:
        """The result, of an image whose ``box`` holds the whole image, perhaps smaller."""
        if self.longest_side is not None and max(self.size) > self.longest_side:
            height, width = input_size(self.size, self.longest_side)
            image = plain(image).resize((width, height), Image.Resampling.BILINEAR, box=box)
        return ScaledImage(self._pixels(image), self.shown_size)

    def _pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        rows = max(1, _STRIP_PIXELS // image.width)
        for top in range(0, image.height, rows):  # by strips: copies of the whole take memory
            strip = image.crop((0, top, image.width, min(top + rows, image.height)))
            strip = plain(strip)
            if self.profile is not None:
                strip = to_srgb(strip, self.profile)
            pixels[top : top + rows] = on_white(strip)
        return turn(pixels, self.orientation)


def _decode(
    content: bytes, longest_side: int | None, reported_size: tuple[int, int] | None
) -> ScaledImage:
    encoded = read(content)
    try:
        return _decode_encoded(encoded, longest_side, reported_size)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise _unreadable(content, error) from error


def _unreadable(content: bytes, error: Exception) -> ImageError:
    return ImageError(
        f"the {len(content)} bytes that came are no image that can be decoded"
        f" ({type(error).__name__}: {error}): does a browser show it?"
    )


def _decode_encoded(
    encoded: EncodedImage, longest_side: int | None, reported_size: tuple[int, int] | None
) -> ScaledImage:
    # The functions that are called here free their pixels before the budget is given back.
    with _budget.spend(_weight(encoded.canvas, encoded.weight)):
        try:
            return _decode_whole(encoded, longest_side, reported_size)
        except _DamagedError as error:
            damage = str(error)
    with _budget.spend(_weight(encoded.canvas, max(_DAMAGE_WEIGHT, encoded.weight))):
        return _decode_part(encoded, longest_side, reported_size, damage)


class _DamagedError(Exception):
    """The pixels of a file cannot be read to their end, and browsers show a part of them."""


def _decode_whole(
    encoded: EncodedImage, longest_side: int | None, reported_size: tuple[int, int] | None
) -> ScaledImage:
    file = encoded.open()
    frame = encoded.frame(file)
    view = _view(encoded, file, longest_side, reported_size)
    try:
        image, box = _load(encoded, file, longest_side)
    except Exception as error:
        if not encoded.format.is_shown_in_part:
            raise
        raise _DamagedError(f"{type(error).__name__}: {error}") from error
    _warn_of(encoded.png.damage if encoded.png is not None else None, encoded)
    is_whole = frame == (0, 0, *encoded.canvas)
    return view.show(image if is_whole else placed(image, encoded.canvas, frame), box)


def _decode_part(
    encoded: EncodedImage,
    longest_side: int | None,
    reported_size: tuple[int, int] | None,
    damage: str,
) -> ScaledImage:
    file = encoded.open()
    frame = encoded.frame(file)
    view = _view(encoded, file, longest_side, reported_size)
    image = load_part(encoded, frame)
    _warn_of(damage, encoded)
    return view.show(placed(image, encoded.canvas, frame), (0, 0, *encoded.canvas))


def _view(
    encoded: EncodedImage,
    file: ImageFile,
    longest_side: int | None,
    reported_size: tuple[int, int] | None,
) -> _View:
    return _View(
        encoded.canvas[::-1],
        orientation(file, encoded.png, reported_size),
        profile(file, encoded.png),
        longest_side,
    )


def _weight(size: tuple[int, int], factor: int) -> int:
    """What an image of a size (W, H) counts in the budget.

    Raises:
        ImageError: it is too large.
    """
    pixels = size[0] * size[1]
    if pixels * factor > MAX_PIXELS:
        raise ImageError(
            f"the image is too large, use a smaller one: it has {pixels} pixels, and of such a"
            f" file at most {MAX_PIXELS // factor} can be decoded"
        )
    return pixels * factor


def _load(
    encoded: EncodedImage, file: ImageFile, longest_side: int | None
) -> tuple[Image.Image, Box]:
    """Read the pixels of a file, of a large JPEG at a fraction of its size.

    Returns:
        The image, and the box (left, top, right, bottom) in it that holds the whole.
    """
    box: Box = (0, 0, *file.size)
    if encoded.png is not None and encoded.png.has_transparent_color:
        return with_transparent_color(encoded.png.clean()), box
    if longest_side is not None and encoded.format.name == "JPEG":
        scale = max(1.0, max(file.size) / (longest_side * _OVERSAMPLING))
        width, height = (max(1, int(side / scale)) for side in file.size)
        drafted = file.draft(None, (width, height))
        box = drafted[1] if drafted is not None else box
    file.load()
    return file, box


def _warn_of(damage: str | None, encoded: EncodedImage) -> None:
    if damage is not None:
        logger.warning(
            "a %s file of %d bytes is damaged (%s): what browsers show of it is used",
            encoded.format.name,
            len(encoded.content),
            damage,
        )
