"""Colours as browsers show them: profiles and PNG's colour chunks, converted to sRGB.

Chromium and LittleCMS differ by at most one level of 255. High dynamic range (cICP with PQ or
HLG), CMYK profiles and AVIF's own colour description without a profile are left as they are.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from backend.images.png import Png

# x and y of white, red, green, blue: in the order of cHRM.
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_DISPLAY_P3 = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
_BT2020 = (0.3127, 0.3290, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
_CICP_PRIMARIES = {1: _SRGB, 9: _BT2020, 12: _DISPLAY_P3}
_CICP_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 13: None}  # None is sRGB's curve
# Without cHRM, a gAMA chunk within this share of 1 / 2.2 is taken as sRGB's curve.
_GAMMA_TOLERANCE = 0.05
_PROFILE_LIMIT = 8 << 20  # bytes of a profile inflated from iCCP

_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of profiles
# Bradford's matrix from XYZ to the responses of the eye's cones.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

# The tags of a profile that we make: the colours, and a name.
_RGB = (b"r", b"g", b"b")
_TEXT = struct.pack(">4s4xIIHHII2x", b"mluc", 1, 12, 0x656E, 0x5553, 2, 28) + b"\0-"
_TEXT = _TEXT.ljust(32, b"\0")


def profile(image: Image.Image, png: Png | None) -> bytes | None:
    """The ICC profile of an image's colours, None for sRGB or none.

    Args:
        image: opened.
        png: its chunks, for a PNG.
    """
    if png is None:
        found: bytes | None = image.info.get("icc_profile")
        return found
    cicp = png.chunks.get(b"cICP", b"")
    if len(cicp) == 4 and cicp[0] in _CICP_PRIMARIES and cicp[1] in _CICP_GAMMAS:
        return _made_profile(_CICP_PRIMARIES[cicp[0]], _CICP_GAMMAS[cicp[1]])
    embedded = _embedded(png.chunks.get(b"iCCP", b""))
    if embedded is not None or b"sRGB" in png.chunks:
        return embedded
    return _from_gamma(png.chunks.get(b"gAMA", b""), png.chunks.get(b"cHRM", b""))


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert the colours of an image.

    Args:
        image: of mode L, RGB or RGBA.
        profile: ICC; one that does not fit or is broken is passed over, as in browsers.

    Returns:
        An RGB image for one of mode L, else one of the same mode.
    """
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if space != ("GRAY" if image.mode == "L" else "RGB"):
            return image
        mode = "RGB" if image.mode == "L" else image.mode
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            image.mode,
            mode,
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # LittleCMS's short cut for grey is off by up to 10 levels.
            ImageCms.Flags.NOOPTIMIZE if space == "GRAY" else ImageCms.Flags.NONE,
        )
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def _embedded(chunk: bytes) -> bytes | None:
    """The profile in an iCCP chunk, None where it is broken."""
    _, _, compressed = chunk.partition(b"\0")
    try:
        found = zlib.decompressobj().decompress(compressed[1:], _PROFILE_LIMIT)
        ImageCms.ImageCmsProfile(BytesIO(found))
    except (zlib.error, ImageCms.PyCMSError, OSError, ValueError):
        return None
    return found


def _from_gamma(gama: bytes, chrm: bytes) -> bytes | None:
    """A profile from the chunks gAMA and cHRM; None without gAMA, as in browsers."""
    if len(gama) != 4 or gama == bytes(4):
        return None
    gamma = 100_000 / struct.unpack(">I", gama)[0]
    if len(chrm) == 32:
        primaries = tuple(value / 100_000 for value in struct.unpack(">8I", chrm))
        return _made_profile(primaries, gamma)
    if abs(2.2 / gamma - 1) < _GAMMA_TOLERANCE:
        return None
    return _made_profile(_SRGB, gamma)


def _made_profile(primaries: tuple[float, ...], gamma: float | None) -> bytes | None:
    """An ICC profile (version 4, a matrix and one curve); None where the primaries are no colours.

    Args:
        primaries: x and y of white, red, green and blue.
        gamma: the curve's exponent, None for sRGB's curve.
    """
    try:
        columns = _matrix(primaries).T
        curve = _curve(gamma)
        tags = [(b"wtpt", _xyz(_D50)), (b"desc", _TEXT), (b"cprt", _TEXT)]
        tags += [(name + b"XYZ", _xyz(column)) for name, column in zip(_RGB, columns, strict=True)]
        tags += [(name + b"TRC", curve) for name in _RGB]
    except (ZeroDivisionError, np.linalg.LinAlgError, struct.error, ValueError, OverflowError):
        return None
    start = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, tag in tags:
        table += struct.pack(">4sII", name, start + len(content), len(tag))
        content += tag
    header = struct.pack(">I4xI", start + len(content), 0x0400_0000) + b"mntrRGB XYZ "
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + table + content


def _matrix(primaries: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """3 x 3, from linear RGB to the XYZ of profiles, whose white is D50."""
    white, *colors = (
        np.array([x / y, 1.0, (1 - x - y) / y])
        for x, y in zip(primaries[::2], primaries[1::2], strict=True)
    )
    matrix = np.stack(colors, axis=1)
    matrix *= np.linalg.solve(matrix, white)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: npt.NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ (
        cones[:, None] * (_BRADFORD @ matrix)
    )
    return adapted


def _curve(gamma: float | None) -> bytes:
    kind, values = (0, (gamma,)) if gamma is not None else (3, _SRGB_CURVE)
    return struct.pack(">4s4xH2x", b"para", kind) + b"".join(_fixed(value) for value in values)


def _xyz(values: npt.NDArray[np.float64]) -> bytes:
    return struct.pack(">4s4x", b"XYZ ") + b"".join(_fixed(float(value)) for value in values)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))
