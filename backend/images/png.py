"""PNG files as browsers read them: damaged chunks passed over, the first frame of an animation.

Pillow refuses a whole file for one bad checksum or one large text. Here only the chunks that the
pixels need go on to Pillow, each with a new checksum.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB = 0, 2  # colour types
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of the colour types
_INFLATED_STEP = 256  # bytes
_MAX_CHUNKS = 200_000
_MAX_PALETTE = 256


class PngError(ValueError):
    """Browsers do not show the file either. The message says why."""


@dataclass
class Png:
    """What counts of a PNG file.

    Attributes:
        header: the content of IHDR.
        chunks: by name, the content of the first chunk of each kind that stands before the pixels.
        frame: (left, top, width, height) of the pixels in the image.
        pixels: the compressed pixels, as far as they came, in parts.
        damage: what is wrong with the file, None where nothing was found.
    """

    header: bytes
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    frame: tuple[int, int, int, int] = (0, 0, 0, 0)
    pixels: list[memoryview] = field(default_factory=list)
    damage: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the image."""
        width, height = struct.unpack_from(">II", self.header)
        return width, height

    @property
    def is_interlaced(self) -> bool:
        """Whether the pixels come in Adam7's seven passes."""
        return self.header[12] == 1

    @property
    def transparent_grey(self) -> int | None:
        """The grey that is transparent, 0 to 255 (0 to 65535 for 16 bits), None for no such.

        None too for 1 bit.
        """
        depth, color_type = self.header[8], self.header[9]
        chunk = self.chunks.get(b"tRNS", b"")
        if color_type != _GREY or len(chunk) < 2 or depth == 1:
            return None
        value = int(struct.unpack_from(">H", chunk)[0])
        return value if depth == 16 else value * 255 // ((1 << depth) - 1)

    @property
    def has_transparent_color(self) -> bool:
        """Whether one colour of 16 bits a channel is transparent."""
        return self.header[8:10] == bytes((16, _RGB)) and b"tRNS" in self.chunks

    def inflated(self) -> Png:
        """The same with pixels that are not compressed, as far as they can be read."""
        width, height = self.frame[2:]
        depth, color_type = self.header[8], self.header[9]
        row = 2 + width * _CHANNELS.get(color_type, 1) * depth // 8
        limit = 2 * row * height + 64  # the passes of an interlaced image have more rows
        inflater, rows = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
        try:  # in small steps: what one step inflates is lost where that step meets a mistake
            pixels = b"".join(self.pixels)
            for start in range(2, len(pixels), _INFLATED_STEP):
                step = pixels[start : start + _INFLATED_STEP]
                rows += inflater.decompress(step, limit - len(rows))
                if inflater.eof or len(rows) >= limit:
                    break
        except zlib.error:
            pass
        return replace(self, pixels=[memoryview(zlib.compress(rows, level=0))])

    def clean(self) -> bytes:
        """A PNG file of the pixels, of the size of :attr:`frame`, and what they need."""
        header = struct.pack(">II", *self.frame[2:]) + self.header[8:]
        needed = [(name, self.chunks[name]) for name in (b"PLTE", b"tRNS") if name in self.chunks]
        parts = [SIGNATURE, *_chunk(b"IHDR", header)]
        for name, content in needed:
            parts += _chunk(name, content)
        parts += _chunk(b"IDAT", *self.pixels) + _chunk(b"IEND")
        return b"".join(parts)


def read_png(content: bytes) -> Png:
    """Read the chunks of a PNG file.

    Raises:
        PngError: browsers refuse the file or show nothing of it.
    """
    chunks = _chunks(content)
    name, header, is_whole = next(chunks, (b"", memoryview(b""), False))
    if name != b"IHDR" or len(header) != 13 or not is_whole:
        raise PngError("its header is broken")
    png = Png(bytes(header))
    png.frame = (0, 0, *png.size)
    png.pixels = _pixels(png, chunks)
    _check_transparency(png)
    if not png.pixels:
        raise PngError("it has no pixels")
    return png


def _check_transparency(png: Png) -> None:
    """Leave out the transparency where browsers pass over it, and cut a colour that is too long."""
    found = png.chunks.pop(b"tRNS", b"")
    if color := {_GREY: 2, _RGB: 6}.get(png.header[9]):  # bytes
        is_used, found = len(found) >= color, found[:color]
    else:
        is_used = 0 < len(found) <= _MAX_PALETTE
    if is_used:
        png.chunks[b"tRNS"] = found


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """(name, content, whether it is whole and its checksum right) of each chunk."""
    view = memoryview(content)
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(content):
            return
        length, name = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        checksum = zlib.crc32(view[position + 4 : end])
        is_whole = view[end : end + 4] == struct.pack(">I", checksum)
        yield name, view[position + 8 : end], is_whole
        position = end + 4
    raise PngError(f"it has more than {_MAX_CHUNKS} chunks")


def _pixels(png: Png, chunks: Iterator[tuple[bytes, memoryview, bool]]) -> list[memoryview]:
    """The parts of the compressed pixels of the first frame. Fills in the other attributes."""
    parts: list[memoryview] = []
    is_animated = False
    frames = 0
    for name, content, is_whole in chunks:
        if not is_whole:
            png.damage = f"its chunk {name.decode('latin-1')!r} is damaged"
        if name == b"IEND":
            break
        if name == b"IDAT" and (not is_animated or frames == 1):
            parts.append(content)
        elif name == b"fdAT" and frames == 1 and is_animated:
            parts.append(content[4:])
        elif name == b"fcTL" and is_animated and is_whole:
            frames += 1
            if frames > 1:
                break
            png.frame = _frame(png, content)
        elif name == b"acTL" and is_whole and not parts:
            is_animated = content[:4] != bytes(4)
        elif name[:1].isupper() and name not in (b"IDAT", b"PLTE"):
            raise PngError(f"it has a chunk {name!r} that nobody knows")
        elif name == b"PLTE" and not is_whole:
            raise PngError("its palette is damaged")
        elif is_whole and not parts:
            png.chunks.setdefault(name, bytes(content))
    else:
        png.damage = png.damage or "its end is missing"
    return parts


def _frame(png: Png, control: memoryview) -> tuple[int, int, int, int]:
    """(left, top, width, height) of an animation's frame, from its fcTL chunk."""
    if len(control) < 20:
        raise PngError("the first frame of its animation is broken")
    width, height, left, top = struct.unpack_from(">IIII", control, 4)
    if not (0 < width <= png.size[0] - left and 0 < height <= png.size[1] - top):
        raise PngError("the first frame of its animation reaches beyond the image")
    return left, top, width, height


def _chunk(name: bytes, *content: bytes | memoryview) -> list[bytes | memoryview]:
    """The parts of a chunk, not joined yet: pixels take megabytes."""
    checksum = zlib.crc32(name)
    for part in content:
        checksum = zlib.crc32(part, checksum)
    length = sum(len(part) for part in content)
    return [struct.pack(">I", length), name, *content, struct.pack(">I", checksum)]
