"""Generated files, decoded as Chromium shows them: Chromium is asked, pixel by pixel."""

import base64
import io
import logging
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from playwright.sync_api import Browser

from backend.images.decoding import MAX_PIXELS, decode, decode_scaled, shown_size
from backend.images.errors import ImageError
from backend.images.formats import FORMATS, SUFFIXES
from backend.images.pixel_budget import PixelBudget

Show = Callable[[bytes], npt.NDArray[np.int_] | None]

_SHOW = """async (base64) => {
    const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const url = URL.createObjectURL(new Blob([content]));
    const image = new Image();
    const isShown = await new Promise((resolve) => {
        image.onload = () => resolve(true);
        image.onerror = () => resolve(false);
        image.src = url;
    });
    URL.revokeObjectURL(url);
    if (!isShown) return null;
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    let text = "";
    for (let start = 0; start < pixels.length; start += 8192)
        text += String.fromCharCode.apply(null, pixels.subarray(start, start + 8192));
    return [canvas.height, canvas.width, btoa(text)];
}"""


@pytest.fixture(scope="module")
def shown(browser: Browser) -> Show:
    """What Chromium shows of a file: H x W x 3 on white, None where it refuses the file."""
    page = browser.new_page()

    def show(content: bytes) -> npt.NDArray[np.int_] | None:
        answer = page.evaluate(_SHOW, base64.b64encode(content).decode())
        if answer is None:
            return None
        height, width, text = answer
        pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
        alpha = pixels[..., 3:] / 255
        return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(int)

    return show


def check(shown: Show, content: bytes, tolerance: int = 1, mean: float = 1.0) -> None:
    """Chromium and we show the same."""
    theirs = shown(content)
    assert theirs is not None, "Chromium refuses the file"
    ours = decode(content)
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs)
    assert difference.max() <= tolerance
    assert difference.mean() <= mean


# Generated files.

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
RAMP = np.arange(256, dtype=np.uint8)
COLORS = np.stack(
    [np.tile(RAMP, (8, 1)), np.tile(RAMP[::-1], (8, 1)), np.tile(RAMP * 7, (8, 1))], -1
)
GRADIENT = np.stack([np.add.outer(np.arange(96), np.arange(128)) % 256] * 3, -1).astype(
    np.uint8
) // 2 + np.random.default_rng(1).integers(0, 99, (96, 128, 3), dtype=np.uint8)


def encoded(image: npt.NDArray[np.uint8] | Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow = image if isinstance(image, Image.Image) else Image.fromarray(image)
    pillow.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def damaged(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def deflated(pixels: npt.NDArray[np.generic]) -> bytes:
    """Rows of a PNG, each without a filter, compressed."""
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


def png(
    pixels: npt.NDArray[np.generic],
    *chunks: bytes,
    color_type: int = 2,
    depth: int = 8,
    size: tuple[int, int] | None = None,
) -> bytes:
    """A PNG file with chunks before its pixels. ``size`` (W, H) where it is not the array's."""
    width, height = size or (pixels.shape[1], pixels.shape[0])
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", deflated(pixels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def interlaced_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    parts = [pixels[top::down, left::right] for top, left, down, right in [*passes, (1, 0, 2, 1)]]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    content = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in content)


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def chrm(*values: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))


def exif(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """One directory of (tag, type, count, the four bytes of the value)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    body = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return head + body + bytes(4)


def turned(value: int, kind: int = 3, count: int = 1) -> tuple[int, int, int, bytes]:
    return 0x0112, kind, count, struct.pack("<HH", value, value if count == 2 else 0)


SIX = exif(turned(6))
ORIENTATIONS = {
    **{f"{value}": exif(turned(value)) for value in range(10)},
    "motorola": exif((0x0112, 3, 1, b"\0\6\0\0"), order=">"),
    "byte": exif(turned(6, kind=1)),
    "text": exif((0x0112, 2, 2, b"6\0\0\0")),
    "long": exif(turned(6, kind=4)),
    "signed-short": exif(turned(6, kind=8)),
    "count-0": exif(turned(6, count=0)),
    "count-2": exif(turned(6, count=2)),
    "text-before-good": exif((0x0112, 2, 2, b"8\0\0\0"), turned(6)),
    "text-after-good": exif(turned(6), (0x0112, 2, 2, b"8\0\0\0")),
    "long-before-good": exif(turned(8, kind=4), turned(6)),
    "two-good": exif(turned(6), turned(8)),
    "9-before-good": exif(turned(9), turned(6)),
    "other-tag-broken": exif((0x010F, 2, 100, b"\xff\xff\0\0"), turned(6)),
    "other-type-unknown": exif((0x010F, 0xFFFF, 1, bytes(4)), turned(6)),
    "cut-in-entry": SIX[:20],
    "cut-after-entry": SIX[:22],
    "too-many-entries": SIX[:8] + b"\5\0" + SIX[10:],
    "second-directory": b"II*\0\x08\0\0\0\0\0\x0e\0\0\0" + SIX[8:],
    "no-exif": b"garbage",
    "empty": b"",
    "bigtiff": b"II+\0" + SIX[4:],
    "far-directory": b"II*\0" + struct.pack("<I", 5000),
}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
RAW_PROFILE = b"\nexif\n%8d\n%s\n" % (len(SIX) + 6, (b"Exif\0\0" + SIX).hex().encode())


def segment(content: bytes) -> bytes:
    """An APP1 segment."""
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments: bytes, **options: object) -> bytes:
    content = encoded(GRADIENT, "JPEG", **options)
    return content[:2] + b"".join(segments) + content[2:]


class TestOrientation:
    @pytest.mark.parametrize("content", [pytest.param(v, id=k) for k, v in ORIENTATIONS.items()])
    def test_jpeg_and_png(self, shown: Show, content: bytes) -> None:
        for file in (jpeg(segment(b"Exif\0\0" + content)), png(NOISE, chunk(b"eXIf", content))):
            check(shown, file)
            assert shown_size(file) == decode(file).shape[:2]

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(jpeg(segment(b"Exif\0\xff" + SIX)), id="jpeg-odd-padding"),
            pytest.param(
                jpeg(*(segment(b"Exif\0\0" + ORIENTATIONS[name]) for name in "68")), id="jpeg-two"
            ),
            pytest.param(
                jpeg(segment(b"Exif\0\0garbage"), segment(b"Exif\0\0" + SIX)), id="jpeg-bad-first"
            ),
            pytest.param(jpeg(segment(b"http://ns.adobe.com/xap/1.0/\0" + XMP)), id="jpeg-xmp"),
            pytest.param(png(NOISE, chunk(b"eXIf", b"Exif\0\0" + SIX)), id="png-prefix"),
            pytest.param(png(NOISE, damaged(chunk(b"eXIf", SIX))), id="png-damaged"),
            pytest.param(
                png(NOISE)[:-12] + chunk(b"eXIf", SIX) + png(NOISE)[-12:], id="png-after-pixels"
            ),
            pytest.param(
                png(NOISE, chunk(b"eXIf", SIX), chunk(b"eXIf", ORIENTATIONS["8"])), id="png-two"
            ),
            pytest.param(
                png(NOISE, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), id="png-xmp"
            ),
            pytest.param(
                png(
                    NOISE,
                    chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW_PROFILE)),
                ),
                id="png-raw-profile",
            ),
            pytest.param(encoded(NOISE, "WEBP", exif=SIX), id="webp"),
            pytest.param(encoded(NOISE, "WEBP", exif=b"Exif\0\0" + SIX), id="webp-prefix"),
            pytest.param(encoded(NOISE, "WEBP", xmp=XMP), id="webp-xmp"),
            pytest.param(encoded(NOISE, "AVIF", xmp=XMP), id="avif-xmp"),
            *(
                pytest.param(
                    encoded(NOISE, "AVIF", exif=b"Exif\0\0" + ORIENTATIONS[f"{value}"]),
                    id=f"avif-{value}",
                )
                for value in range(1, 9)
            ),
        ],
    )
    def test_where_it_stands(self, shown: Show, content: bytes) -> None:
        check(shown, content)

    @pytest.mark.parametrize(
        ("content", "sizes"),
        [
            # Safari turns WebP and reads LONG; Firefox does not turn PNG.
            pytest.param(encoded(NOISE, "WEBP", exif=SIX), [(48, 64), (64, 48)], id="webp"),
            pytest.param(
                png(NOISE, chunk(b"eXIf", ORIENTATIONS["long"])), [(48, 64), (64, 48)], id="long"
            ),
            pytest.param(png(NOISE, chunk(b"eXIf", SIX)), [(64, 48), (48, 64)], id="png"),
        ],
    )
    def test_where_browsers_differ_the_reported_size_decides(
        self, content: bytes, sizes: list[tuple[int, int]]
    ) -> None:
        for size in sizes:
            assert decode(content, size).shape[:2] == size
            assert decode_scaled(content, 16, size).original_size == size
            assert shown_size(content, size) == size
        assert decode(content).shape[:2] == sizes[0]
        assert decode(content, (5, 5)).shape[:2] == sizes[0]


def fctl(width: int, height: int, left: int, top: int) -> bytes:
    return chunk(b"fcTL", struct.pack(">5I2H2B", 0, width, height, left, top, 1, 1, 0, 0))


def fdat(pixels: npt.NDArray[np.uint8]) -> bytes:
    return chunk(b"fdAT", struct.pack(">I", 1) + deflated(pixels))


ACTL = chunk(b"acTL", struct.pack(">II", 1, 0))
PALETTE = bytes(value for index in range(256) for value in (index, 255 - index, index * 7 % 256))


def lzw(pixels: npt.NDArray[np.uint8]) -> bytes:
    """GIF's compression, without compressing: the codes stay 9 bits long."""
    codes = [256]
    for index, value in enumerate(pixels.ravel()):
        codes += [int(value)] if index % 100 or not index else [256, int(value)]
    codes.append(257)
    bits = sum(code << 9 * place for place, code in enumerate(codes))
    content = bits.to_bytes(9 * len(codes) // 8 + 1, "little")
    blocks = [content[start : start + 255] for start in range(0, len(content), 255)]
    return b"\x08" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def gif(
    screen: tuple[int, int],
    frame: tuple[int, int],
    transparent: int | None = None,
    interlaced: bool = False,
    pixels: npt.NDArray[np.uint8] = NOISE[:20, :20, 0],
) -> bytes:
    """A frame of 20 x 20 that stands somewhere on a screen."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF7, 5, 0) + PALETTE
    control = b"!\xf9\4" + bytes([transparent is not None, 10, 0, transparent or 0, 0])
    height, width = pixels.shape
    place = struct.pack("<HHHHB", *frame, width, height, 0x40 if interlaced else 0)
    return head + control + b"," + place + lzw(pixels) + b";"


class TestFirstFrame:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(png(NOISE, ACTL, fctl(64, 48, 0, 0)), id="apng"),
            pytest.param(
                png(NOISE, ACTL)[:-12] + fctl(64, 48, 0, 0) + fdat(NOISE[::-1]) + png(NOISE)[-12:],
                id="apng-other-default-image",
            ),
            pytest.param(
                png(NOISE, ACTL)[:-12]
                + fctl(8, 6, 5, 4)
                + fdat(NOISE[:6, :8])
                + fctl(64, 48, 0, 0)
                + fdat(NOISE)
                + png(NOISE)[-12:],
                id="apng-offset",
            ),
            pytest.param(
                png(NOISE, chunk(b"acTL", bytes(8)), fctl(64, 48, 0, 0)), id="apng-no-frames"
            ),
            pytest.param(gif((20, 20), (0, 0)), id="gif"),
            pytest.param(gif((20, 20), (0, 0), transparent=95), id="gif-transparent"),
            pytest.param(gif((30, 40), (5, 7)), id="gif-offset"),
            pytest.param(gif((30, 40), (5, 7), transparent=5), id="gif-offset-transparent"),
            pytest.param(gif((15, 15), (10, 10)), id="gif-beyond-the-screen"),
            pytest.param(gif((0, 0), (0, 0)), id="gif-no-screen"),
            pytest.param(gif((20, 20), (0, 0), interlaced=True), id="gif-interlaced"),
            *(
                pytest.param(
                    encoded(
                        Image.new("RGB", (64, 48), "red"),
                        kind,
                        save_all=True,
                        append_images=[Image.new("RGB", (64, 48), "blue")],
                    ),
                    id=f"{kind.lower()}-animation",
                )
                for kind in ("WEBP", "AVIF", "PNG", "GIF")
            ),
        ],
    )
    def test_as_chromium(self, shown: Show, content: bytes) -> None:
        check(shown, content)

    def test_of_tiff_the_first_page(self) -> None:
        pages = [Image.new("RGB", (4, 4), color) for color in ("red", "lime")]
        content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
        assert tuple(decode(content)[0, 0]) == (255, 0, 0)


P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CICP_P3 = chunk(b"cICP", bytes([12, 13, 0, 1]))


def icc(space: bytes = b"RGB ", gamma: float = 1.5) -> bytes:
    """A profile: sRGB's with the channels exchanged, and a gamma."""
    curve = b"para" + bytes(8) + struct.pack(">i", round(gamma * 65536))
    points = [(0.9642, 1, 0.8249), (0.1431, 0.0606, 0.7139), (0.4361, 0.2225, 0.0139)]
    points.append((0.3851, 0.7169, 0.0971))
    xyz = [b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in p)) for p in points]
    tags = [(b"wtpt", xyz[0]), (b"cprt", b"text" + bytes(8))]
    if space == b"GRAY":
        tags.append((b"kTRC", curve))
    else:
        tags += list(zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz[1:], strict=True))
        tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    start = 132 + 12 * len(tags)
    table = struct.pack(">I", len(tags))
    content = b""
    for name, tag in tags:
        table += struct.pack(">4sII", name, start + len(content), len(tag))
        content += tag
    head = struct.pack(
        ">I4xI4s4s4s12x4s", start + len(content), 4 << 24, b"mntr", space, b"XYZ ", b"acsp"
    )
    return head.ljust(68, b"\0") + xyz[0][8:] + bytes(48) + table + content


GREY = np.tile(RAMP, (4, 1))
GREY16 = (np.arange(0, 65536, 64).reshape(4, 256) + [[0], [1], [2], [3]]).astype(">u2")
RGB16 = np.repeat(GREY16, 3, axis=1)


class TestColors:
    @pytest.mark.parametrize(
        "chunks",
        [
            pytest.param([gama(0.45455)], id="gamma-srgb"),
            pytest.param([gama(0.44)], id="gamma-nearly-srgb"),
            pytest.param([gama(1.0)], id="gamma-1"),
            pytest.param([gama(0.3)], id="gamma-0.3"),
            pytest.param([gama(0)], id="gamma-0"),
            pytest.param([damaged(gama(1.0))], id="gamma-damaged"),
            pytest.param([gama(1.0), gama(0.3)], id="gamma-twice"),
            pytest.param([chrm(*P3)], id="primaries-alone"),
            pytest.param([chrm(*[0.0] * 8), gama(1.0)], id="primaries-0"),
            pytest.param([gama(0.45455), chrm(*P3)], id="gamma-and-primaries"),
            pytest.param([gama(0.5), chrm(0.3457, 0.3585, *P3[2:])], id="white-d50"),
            pytest.param([gama(1.0), chunk(b"sRGB", b"\0")], id="srgb-before-gamma"),
            pytest.param([gama(1.0), iccp(SRGB_PROFILE)], id="profile-before-gamma"),
            pytest.param([chunk(b"sRGB", b"\0"), iccp(icc())], id="profile-before-srgb"),
            pytest.param([iccp(icc())], id="profile"),
            pytest.param([iccp(icc(b"GRAY"))], id="profile-of-grey"),
            pytest.param([iccp(b"garbage"), gama(1.0)], id="profile-garbage"),
            pytest.param([chunk(b"iCCP", b"name\0\0garbage")], id="profile-not-compressed"),
            pytest.param([CICP_P3], id="code-points"),
            pytest.param([CICP_P3, iccp(icc())], id="code-points-before-profile"),
        ],
    )
    def test_png(self, shown: Show, chunks: list[bytes]) -> None:
        check(shown, png(COLORS, *chunks))

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(encoded(GRADIENT, "JPEG", icc_profile=icc()), id="jpeg"),
            pytest.param(
                encoded(GRADIENT[..., 0], "JPEG", icc_profile=icc(b"GRAY")), id="grey-jpeg"
            ),
            pytest.param(encoded(GRADIENT[..., 0], "JPEG", icc_profile=icc()), id="grey-jpeg-rgb"),
            pytest.param(encoded(GREY, "PNG", icc_profile=icc(b"GRAY", 1.0)), id="grey-png"),
            pytest.param(encoded(GRADIENT, "WEBP", icc_profile=icc()), id="webp"),
            pytest.param(encoded(GRADIENT, "AVIF", icc_profile=icc()), id="avif"),
            pytest.param(
                encoded(Image.fromarray(NOISE).quantize(64), "PNG", icc_profile=icc()), id="palette"
            ),
        ],
    )
    def test_profiles(self, shown: Show, content: bytes) -> None:
        check(shown, content)

    def test_a_profile_counts_in_a_scaled_image_too(self) -> None:
        content = png(np.full((64, 64, 3), 99, np.uint8), gama(1.0))
        assert (decode_scaled(content, 16).image == decode(content)[:16, :16]).all()


class TestPixels:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(png(GREY, color_type=0), id="grey"),
            pytest.param(png(GREY, chunk(b"tRNS", b"\0\x80"), color_type=0), id="grey-key"),
            pytest.param(
                png(GREY, chunk(b"tRNS", b"\0\1"), color_type=0, depth=2, size=(1024, 4)),
                id="2-bit-key",
            ),
            pytest.param(
                png(GREY, chunk(b"tRNS", b"\0\1"), color_type=0, depth=1, size=(2048, 4)),
                id="1-bit-key",
            ),
            pytest.param(png(GREY, color_type=0, depth=4, size=(512, 4)), id="4-bit"),
            pytest.param(png(GREY16, color_type=0, depth=16), id="16-bit"),
            pytest.param(
                png(GREY16, chunk(b"tRNS", GREY16[2, 99].tobytes()), color_type=0, depth=16),
                id="16-bit-key",
            ),
            pytest.param(png(RGB16, depth=16, size=(256, 4)), id="16-bit-rgb"),
            pytest.param(
                png(
                    RGB16,
                    chunk(b"tRNS", GREY16[2, 99].tobytes() * 3),
                    depth=16,
                    size=(256, 4),
                ),
                id="16-bit-rgb-key",
            ),
            pytest.param(
                png(
                    np.tile(np.uint16([[0x1234, 0x5678, 0x9ABC]]).astype(">u2"), (4, 4)),
                    chunk(b"tRNS", b"\x12\x34\x56\x78\x9a\xbd"),
                    depth=16,
                    size=(4, 4),
                ),
                id="16-bit-rgb-key-near",
            ),
            pytest.param(png(RGB16, color_type=4, depth=16, size=(384, 4)), id="16-bit-alpha"),
            pytest.param(png(RGB16, color_type=6, depth=16, size=(192, 4)), id="16-bit-rgba"),
            pytest.param(png(GREY, color_type=4, size=(128, 4)), id="grey-alpha"),
            pytest.param(png(GREY, color_type=6, size=(64, 4)), id="rgba"),
            pytest.param(png(GREY, gama(1.0), color_type=6, size=(64, 4)), id="rgba-gamma"),
            pytest.param(
                png(GREY, gama(1.0), color_type=0, depth=16, size=(128, 4)), id="16-gamma"
            ),
            pytest.param(
                png(GREY, chunk(b"PLTE", PALETTE), chunk(b"tRNS", bytes(range(200))), color_type=3),
                id="palette-alpha",
            ),
            pytest.param(png(GREY, chunk(b"PLTE", bytes(30)), color_type=3), id="palette-short"),
            pytest.param(interlaced_png(NOISE), id="interlaced"),
            pytest.param(encoded(GRADIENT, "JPEG", quality=20, subsampling=2), id="jpeg"),
            pytest.param(encoded(GRADIENT, "JPEG", progressive=True), id="jpeg-progressive"),
            pytest.param(encoded(GRADIENT[..., 0], "JPEG"), id="jpeg-grey"),
            pytest.param(encoded(GRADIENT, "JPEG", keep_rgb=True), id="jpeg-rgb"),
            pytest.param(
                encoded(Image.fromarray(np.dstack([GRADIENT, GRADIENT[..., 0]]), "CMYK"), "JPEG"),
                id="jpeg-cmyk",
            ),
            pytest.param(
                encoded(
                    Image.fromarray(np.dstack([GRADIENT, GRADIENT[..., 0]]), "CMYK"), "JPEG"
                ).replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"),
                id="jpeg-ycck",
            ),
            pytest.param(encoded(np.dstack([NOISE, NOISE[..., 0]]), "WEBP"), id="webp-alpha"),
            pytest.param(encoded(GRADIENT, "WEBP"), id="webp"),
            pytest.param(encoded(GRADIENT, "AVIF"), id="avif"),
            *(
                pytest.param(encoded(Image.fromarray(NOISE).convert(mode), "BMP"), id=f"bmp-{mode}")
                for mode in ("1", "L", "P", "RGB", "RGBA")
            ),
            pytest.param(
                encoded(np.dstack([NOISE, NOISE[..., 0]]), "ICO", sizes=[(64, 48)]), id="ico"
            ),
        ],
    )
    def test_as_chromium(self, shown: Show, content: bytes) -> None:
        check(shown, content)

    @pytest.mark.parametrize("side", ["wide", "high"])
    def test_the_smallest_images(self, side: str) -> None:
        image = NOISE[:1] if side == "wide" else NOISE[:, :1]
        assert (decode(encoded(image, "PNG")) == image).all()


class TestFormats:
    def test_each_has_suffixes_and_opens_its_own_files(self) -> None:
        assert {kind.name for kind in FORMATS} == {
            *("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "ICO", "TIFF")
        }
        for kind in FORMATS:
            assert decode(encoded(NOISE, kind.name)).shape[2] == 3
        assert {".jpg", ".jpeg", ".png", ".avif", ".tiff"} <= set(SUFFIXES)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            pytest.param(b"", "an empty file", id="empty"),
            pytest.param(b"hello", "no image of a kind that browsers show", id="text"),
            pytest.param(b"<!doctype html><p>log in", "web page", id="web-page"),
            pytest.param(
                encoded(NOISE, "JPEG2000"), "no image of a kind that browsers show", id="jpeg-2000"
            ),
            pytest.param(png(NOISE)[:33], "no pixels", id="png-header"),
            pytest.param(
                png(NOISE)[:28] + b"\1" + png(NOISE)[29:], "header is broken", id="png-bad-header"
            ),
            pytest.param(
                png(NOISE, damaged(chunk(b"PLTE", PALETTE))), "palette is damaged", id="png-palette"
            ),
            pytest.param(png(NOISE, chunk(b"ABCD", b"")), "nobody knows", id="png-unknown-chunk"),
            pytest.param(b"\n" + png(NOISE), "no image of a kind", id="png-line-before"),
            pytest.param(jpeg()[:200], "can be decoded", id="jpeg-header"),
            pytest.param(gif((20, 20), (0, 0))[:13], "can be decoded", id="gif-header"),
        ],
    )
    def test_what_chromium_refuses_is_refused(
        self, shown: Show, content: bytes, sentence: str
    ) -> None:
        assert not content or shown(content) is None
        with pytest.raises(ImageError, match=sentence):
            decode(content)

    @pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
    def test_what_chromium_shows_nothing_of_is_refused(self, shown: Show, kind: str) -> None:
        content = encoded(NOISE, kind)[:-9]
        theirs = shown(content)
        assert theirs is None or (theirs == 255).all()
        with pytest.raises(ImageError, match="does a browser show it"):
            decode(content)


def cut(content: bytes, share: float) -> bytes:
    return content[: round(len(content) * share)]


def flipped(content: bytes, share: float) -> bytes:
    place = round(len(content) * share)
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


KEY = NOISE[0, 0].astype(">u2").tobytes()
BOMB_TEXT = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5_000_000)))


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            *(
                pytest.param(cut(content, share), id=f"{name}-{share}")
                for name, content in {
                    "png": png(NOISE),
                    "png-interlaced": interlaced_png(NOISE),
                    "png-grey": png(NOISE[..., 0].copy(), color_type=0),
                    "png-alpha": encoded(np.dstack([NOISE, NOISE[..., 0]]), "PNG"),
                    "png-palette": encoded(Image.fromarray(NOISE).quantize(64), "PNG"),
                    "png-turned": png(NOISE, chunk(b"eXIf", SIX)),
                    "bmp": encoded(NOISE, "BMP"),
                }.items()
                for share in (0.5, 0.9)
            ),
            pytest.param(png(NOISE)[:-12], id="png-no-end"),
            pytest.param(png(NOISE)[:-2], id="png-two-bytes"),
            pytest.param(flipped(png(NOISE), 0.6), id="png-data"),
            pytest.param(png(NOISE)[:-17] + b"\0" + png(NOISE)[-16:], id="png-data-checksum"),
            pytest.param(png(NOISE)[:-13] + b"\0" + png(NOISE)[-12:], id="png-checksum"),
            pytest.param(png(NOISE, damaged(chunk(b"tEXt", b"a\0b"))), id="png-text-checksum"),
            pytest.param(
                png(NOISE, damaged(chunk(b"tRNS", KEY))),
                id="png-key-checksum",
            ),
            *(
                pytest.param(jpeg()[:-missing], id=f"jpeg-without-{missing}")
                for missing in (1, 2, 100)
            ),
            *(pytest.param(cut(jpeg(), share), id=f"jpeg-{share}") for share in (0.5, 0.9)),
            pytest.param(cut(jpeg(segment(b"Exif\0\0" + SIX)), 0.7), id="jpeg-turned"),
            pytest.param(
                png(NOISE, ACTL)[:-12] + fctl(64, 48, 0, 0) + cut(fdat(NOISE), 0.5),
                id="apng",
            ),
        ],
    )
    def test_what_chromium_shows_is_used_with_one_warning(
        self, shown: Show, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        check(shown, content)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "damaged" in record.getMessage()

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(jpeg(progressive=True)[:-2], id="jpeg-progressive"),
            pytest.param(cut(jpeg(progressive=True), 0.6), id="jpeg-progressive-cut"),
            *(
                pytest.param(
                    jpeg(progressive=True)[: jpeg(progressive=True).rindex(marker) + length],
                    id=f"jpeg-progressive-cut-in-{name}-{length}",
                )
                for name, marker in {"table": b"\xff\xc4", "scan-header": b"\xff\xda"}.items()
                for length in (1, 3, 6)
            ),
            pytest.param(cut(gif((20, 20), (0, 0)), 0.9), id="gif"),
            pytest.param(cut(gif((20, 20), (0, 0), interlaced=True), 0.9), id="gif-interlaced"),
            pytest.param(cut(gif((30, 30), (5, 5), transparent=7), 0.9), id="gif-transparent"),
        ],
    )
    def test_up_to_the_last_pixels_where_decoders_stop_at_unlike_places(
        self, shown: Show, content: bytes
    ) -> None:
        check(shown, content, tolerance=255, mean=8)

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(png(NOISE, BOMB_TEXT), id="large-text"),
            pytest.param(png(NOISE, *[BOMB_TEXT] * 20), id="large-texts"),
            pytest.param(png(NOISE, chunk(b"zTXt", b"a\0\0garbage")), id="broken-text"),
            pytest.param(png(NOISE, chunk(b"tRNS", b"\0")), id="key-too-short"),
            pytest.param(png(NOISE, chunk(b"tRNS", KEY + b"12")), id="key-too-long"),
            pytest.param(png(GREY, chunk(b"tRNS", b""), color_type=0), id="grey-key-empty"),
            pytest.param(png(GREY, chunk(b"tRNS", bytes(6)), color_type=0), id="grey-key-too-long"),
            pytest.param(
                png(GREY, chunk(b"PLTE", PALETTE), chunk(b"tRNS", b""), color_type=3),
                id="palette-alpha-empty",
            ),
            pytest.param(
                png(GREY, chunk(b"PLTE", PALETTE), chunk(b"tRNS", bytes(300)), color_type=3),
                id="palette-alpha-too-long",
            ),
            pytest.param(png(NOISE) + b"more", id="png-more"),
            pytest.param(jpeg() + b"more", id="jpeg-more"),
        ],
    )
    def test_what_takes_no_pixels_away_is_passed_over(self, shown: Show, content: bytes) -> None:
        check(shown, content)

    def test_a_scaled_image_shows_the_same_part(self) -> None:
        content = cut(png(NOISE // 2), 0.6)
        image = decode_scaled(content, 32).image
        assert image[0].max() < 128
        assert image[-1].min() == 255


class TestMemory:
    @pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
    def test_too_many_pixels_are_refused_before_decoding(self, kind: str) -> None:
        side = 30_000
        if kind == "PNG":
            content = png(NOISE, size=(side, side))
        elif kind == "GIF":
            content = gif((side, side), (0, 0))
        else:
            content = bytearray(encoded(NOISE, "BMP"))
            content[18:26] = struct.pack("<II", side, side)
        with pytest.raises(ImageError, match="too large.* 900000000 pixels"):
            decode(bytes(content))

    def test_a_file_of_nothing_but_chunks_is_refused(self) -> None:
        with pytest.raises(ImageError, match="more than 200000 chunks"):
            decode(png(NOISE, chunk(b"tEXt", b"") * 200_000))

    @pytest.mark.parametrize("inside", ["png", "bmp"])
    def test_a_large_icon_is_refused(self, inside: str) -> None:
        bmp = struct.pack("<IiiHHIIiiII", 40, 9000, 9000, 1, 32, 0, 0, 0, 0, 0, 0)
        picture = png(NOISE, size=(9000, 9000)) if inside == "png" else bmp
        head = struct.pack("<HHHBBBBHHII", 0, 1, 1, 64, 48, 0, 0, 1, 32, len(picture), 22)
        with pytest.raises(ImageError, match="9000 x 9000 pixels is too large"):
            decode(head + picture)

    @pytest.mark.parametrize("size", [(400, 300), (401, 299), (257, 1025)])
    @pytest.mark.parametrize("turn", ["1", "6"])
    def test_a_large_jpeg_is_shrunk_while_decoding(self, size: tuple[int, int], turn: str) -> None:
        """Shrunk or not, the network sees the same, in the same place."""
        image = Image.fromarray(NOISE[:6, :8]).resize(size, Image.Resampling.BICUBIC)
        content = encoded(image, "JPEG", quality=95)
        content = content[:2] + segment(b"Exif\0\0" + ORIENTATIONS[turn]) + content[2:]
        whole = decode(content)

        found = decode_scaled(content, 32)

        assert found.original_size == whole.shape[:2]
        height, width = found.image.shape[:2]
        assert max(height, width) == 32
        expected = Image.fromarray(whole).resize((width, height), Image.Resampling.BILINEAR)
        assert np.abs(found.image.astype(int) - np.asarray(expected)).mean() < 1.5

    def test_small_images_keep_their_size(self) -> None:
        found = decode_scaled(png(NOISE), 1024)
        assert (found.image == NOISE).all()
        assert found.original_size == (48, 64)

    def test_threads_wait_until_the_pixels_of_others_are_decoded(self) -> None:
        budget = PixelBudget(100)
        order: list[str] = []
        entered = threading.Event()

        def spend(name: str, pixels: int) -> None:
            with budget.spend(pixels):
                order.append(name)
                entered.set()

        with budget.spend(60):
            with budget.spend(40):
                pass
            large = threading.Thread(target=spend, args=("large", 1000))
            large.start()
            assert not entered.wait(0.05)
        large.join()
        assert order == ["large"]

    def test_a_failure_gives_the_pixels_back(self) -> None:
        budget = PixelBudget(10)
        with pytest.raises(ZeroDivisionError), budget.spend(10):
            raise ZeroDivisionError
        with budget.spend(10):
            pass

    def test_the_limit_is_pillows(self) -> None:
        assert Image.MAX_IMAGE_PIXELS is not None
        assert abs(MAX_PIXELS - 2 * Image.MAX_IMAGE_PIXELS) <= 1


_FORTY_CLICKS = """
import io
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from backend.allocator import keep_small_return_large
from backend.images.decoding import decode_scaled

keep_small_return_large()
file = io.BytesIO()
Image.linear_gradient("L").convert("RGB").resize((4000, 3000)).save(file, "JPEG")
with ThreadPoolExecutor(32) as threads:
    for found in threads.map(lambda _: decode_scaled(file.getvalue(), 1024), range(40)):
        assert found.original_size == (3000, 4000)
# Not ru_maxrss: a child begins with that of the process that started it.
with open("/proc/self/status") as status:
    (peak,) = (line for line in status if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
def test_forty_large_images_at_once_take_little_memory() -> None:
    """Without a budget 32 threads take 1.7 GB."""
    run = subprocess.run(
        [sys.executable, "-c", _FORTY_CLICKS], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 700  # MB


_SEEDS = [encoded(NOISE[:16, :16], kind.name) for kind in FORMATS]
_SEEDS += [
    png(NOISE, ACTL, fctl(64, 48, 0, 0), chunk(b"eXIf", SIX), iccp(icc()), gama(1.0), chrm(*P3)),
    interlaced_png(NOISE),
    jpeg(segment(b"Exif\0\0" + SIX), icc_profile=icc(), progressive=True),
    gif((30, 30), (5, 5), interlaced=True),
    png(RGB16, chunk(b"tRNS", bytes(6)), depth=16, size=(256, 4)),
]


@st.composite
def corrupted(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(_SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(content) - 1))
        content[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(content[: draw(st.integers(0, len(content)))])


@pytest.mark.parametrize("read", [decode, partial(decode_scaled, longest_side=8), shown_size])
@settings(max_examples=300, deadline=None, derandomize=True)
@given(content=corrupted() | st.binary(max_size=200))
def test_any_bytes_are_an_image_or_an_image_error(
    read: Callable[[bytes], object], content: bytes
) -> None:
    try:
        read(content)
    except ImageError as error:
        assert str(error)
