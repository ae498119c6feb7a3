"""The image formats that are opened, and opening a file of one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from backend.images.errors import ImageError
from backend.images.png import SIGNATURE, Png, PngError, read_png

Box = tuple[int, int, int, int]  # left, top, right, bottom

_DEEP_COLOR_WEIGHT = 5
_ICON_PIXELS = 1 << 22  # Pillow decodes icons while opening them


class _JpegFile(JpegImagePlugin.JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Passes over the resolution, which nobody needs: Pillow warns of all else in the Exif."""


@dataclass(frozen=True)
class Format:
    """A kind of image file.

    Attributes:
        name: Pillow's.
        suffixes: of file names, lower case.
        begins: whether a file with these first 32 bytes is of this kind.
        reader: Pillow's class.
        weight: memory for a pixel while decoding, as a multiple of Pillow's usual 4 bytes.
        is_shown_in_part: whether browsers show what is left of a damaged file.
    """

    name: str
    suffixes: tuple[str, ...]
    begins: Callable[[bytes], bool]
    reader: Callable[[BytesIO], ImageFile]
    weight: int = 1
    is_shown_in_part: bool = False


# What browsers show, and TIFF, which only Safari does.
FORMATS = (
    Format(
        "PNG",
        (".png", ".apng"),
        lambda head: head.startswith(SIGNATURE),
        PngImagePlugin.PngImageFile,
        is_shown_in_part=True,
    ),
    Format(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
        lambda head: head.startswith(b"\xff\xd8\xff"),
        _JpegFile,
        is_shown_in_part=True,
    ),
    Format(
        "WEBP",
        (".webp",),
        lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        WebPImagePlugin.WebPImageFile,
        weight=3,
    ),
    Format(
        "GIF",
        (".gif",),
        lambda head: head[:6] in (b"GIF87a", b"GIF89a"),
        GifImagePlugin.GifImageFile,
        is_shown_in_part=True,
    ),
    Format(
        "BMP",
        (".bmp", ".dib"),
        lambda head: head.startswith(b"BM"),
        BmpImagePlugin.BmpImageFile,
        is_shown_in_part=True,
    ),
    Format(
        "AVIF",
        (".avif", ".avifs"),
        lambda head: head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1", b"msf1"),
        AvifImagePlugin.AvifImageFile,
        weight=3,
    ),
    Format(
        "ICO",
        (".ico",),
        lambda head: head.startswith(b"\0\0\1\0"),
        IcoImagePlugin.IcoImageFile,
    ),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        TiffImagePlugin.TiffImageFile,
        weight=2,
    ),
)
SUFFIXES = frozenset(suffix for kind in FORMATS for suffix in kind.suffixes)


@dataclass(frozen=True)
class EncodedImage:
    """An image file of a known format, not yet decoded."""

    content: bytes
    format: Format
    png: Png | None

    def open(self) -> ImageFile:
        """Read the header. Each call gives a new image, whose pixels are read at its ``load()``."""
        if self.png is None:
            return self.format.reader(BytesIO(self.content))
        image = self.format.reader(BytesIO(self.png.clean()))
        if self.png.transparent_grey is not None:  # Pillow forgets to scale it
            image.info["transparency"] = self.png.transparent_grey
        return image

    @property
    def weight(self) -> int:
        """Of a pixel while decoding; see :attr:`Format.weight`."""
        if self.png is not None and self.png.has_transparent_color:
            return _DEEP_COLOR_WEIGHT
        return self.format.weight

    @property
    def canvas(self) -> tuple[int, int]:
        """(W, H) of the image that browsers show, of which the first frame may be a part."""
        return self.png.size if self.png is not None else self.open().size

    def frame(self, file: ImageFile) -> Box:
        """Where on the canvas the first frame stands. To be asked before the pixels are read."""
        if self.png is not None:
            left, top, width, height = self.png.frame
            return left, top, left + width, top + height
        extents = file.tile[0].extents if self.format.name == "GIF" else None
        return extents or (0, 0, *file.size)

    @property
    def is_interlaced(self) -> bool:
        """Whether the rows of a PNG or GIF come in several passes."""
        if self.png is not None:
            return self.png.is_interlaced
        arguments = self.open().tile[0].args if self.format.name == "GIF" else None
        return isinstance(arguments, tuple) and bool(arguments[1])


def read(content: bytes) -> EncodedImage:
    """Find out the format of a file.

    Raises:
        ImageError: it is of no format that browsers show.
    """
    if not content:
        raise ImageError("an empty file came in the place of an image")
    if content[:200].lstrip()[:1] == b"<":
        raise ImageError(
            "a web page or an SVG came in the place of an image: is the URL right, and does it"
            " need a login?"
        )
    found = next((kind for kind in FORMATS if kind.begins(content[:32])), None)
    if found is None:
        raise ImageError(
            f"the {len(content)} bytes that came are no image of a kind that browsers show"
        )
    if found.name == "ICO":
        _check_icon(content)
    try:
        png = read_png(content) if found.name == "PNG" else None
    except PngError as error:
        raise ImageError(f"browsers do not show this PNG file: {error}") from error
    return EncodedImage(content, found, png)


def _check_icon(content: bytes) -> None:
    """Refuse icons that would be decoded to more than a few megapixels.

    Raises:
        ImageError: an icon in the file is too large.
    """
    count = struct.unpack_from("<H", content.ljust(6, b"\0"), 4)[0]
    for index in range(min(count, (len(content) - 6) // 16)):
        offset = struct.unpack_from("<I", content, 6 + 16 * index + 12)[0]
        head = content[offset : offset + 24].ljust(24, b"\0")
        is_png = head.startswith(SIGNATURE)
        width, height = struct.unpack_from(">II" if is_png else "<ii", head, 16 if is_png else 4)
        if abs(width * height) > _ICON_PIXELS:
            raise ImageError(f"an icon of {width} x {height} pixels is too large, use a PNG file")
