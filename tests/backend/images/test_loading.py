"""The image as the browser shows it."""

import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from backend.images.decoding import decode
from backend.images.errors import ImageError

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PNG = encoded(Image.new("RGB", (3, 2), RED))


class TestDecode:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, orientation: int) -> None:
        """Stored so that, turned as its orientation says, red is on the left, green right."""
        upright = Image.new("RGB", (64, 32), RED)
        upright.paste(GREEN, (32, 0, 64, 32))
        undo = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }
        stored = upright.transpose(undo[orientation]) if orientation in undo else upright
        exif = Image.Exif()
        exif[0x0112] = orientation

        image = decode(encoded(stored, "PNG", exif=exif))

        assert image.shape == (32, 64, 3)
        assert tuple(image[16, 8]) == RED
        assert tuple(image[16, 56]) == GREEN

    @pytest.mark.parametrize(
        ("image", "kind", "expected"),
        [
            pytest.param(Image.new("L", (4, 4), 7), "PNG", (7, 7, 7), id="grey"),
            pytest.param(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG", WHITE, id="clear"),
            pytest.param(Image.new("RGBA", (4, 4), (255, 0, 0, 255)), "PNG", RED, id="opaque"),
            pytest.param(Image.new("LA", (4, 4), (7, 255)), "PNG", (7, 7, 7), id="grey-alpha"),
            pytest.param(Image.new("1", (4, 4), 1), "PNG", WHITE, id="bits"),
            pytest.param(Image.new("RGB", (4, 4), RED).quantize(4), "PNG", RED, id="palette"),
            pytest.param(Image.new("I;16", (4, 4), 0x80FF), "PNG", (128,) * 3, id="16-bit"),
            pytest.param(Image.new("I;16B", (4, 4), 0x80FF), "TIFF", (128,) * 3, id="16-bit-tiff"),
            pytest.param(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG", WHITE, id="cmyk"),
            pytest.param(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF", RED, id="cmyk-red"),
            pytest.param(Image.new("RGBa", (4, 4)).convert("RGBA"), "WEBP", WHITE, id="webp"),
        ],
    )
    def test_kinds_of_pixels(
        self, image: Image.Image, kind: str, expected: tuple[int, int, int]
    ) -> None:
        found = decode(encoded(image, kind))
        assert found.shape == (4, 4, 3)
        assert found.dtype == np.uint8
        assert tuple(found[1, 1]) == expected

    def test_a_clear_colour_of_a_palette_is_white(self) -> None:
        image = Image.new("P", (4, 4), 1)
        image.putpalette([*RED, *GREEN])
        image.putpixel((0, 0), 0)
        found = decode(encoded(image, transparency=1))
        assert tuple(found[0, 0]) == RED
        assert tuple(found[1, 1]) == WHITE

    @pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
    def test_of_several_frames_or_pages_the_first_one_shows(self, kind: str) -> None:
        frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert tuple(decode(content)[0, 0]) == RED

    @pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
    def test_the_smallest_images(self, size: tuple[int, int]) -> None:
        found = decode(encoded(Image.new("RGB", size, RED)))
        assert found.shape == (size[1], size[0], 3)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            pytest.param(b"", "an empty file", id="empty"),
            pytest.param(b"hello", "no image of a kind that browsers show", id="text"),
            pytest.param(PNG[:43], "damaged before its first pixels", id="truncated"),
            pytest.param(
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
                "no image of a kind that browsers show",
                id="postscript",
            ),
            pytest.param(b"<!doctype html><p>log in", "web page", id="web-page"),
        ],
    )
    def test_no_image(self, content: bytes, sentence: str) -> None:
        with pytest.raises(ImageError, match=sentence):
            decode(content)

    def test_too_many_pixels_are_refused_before_decoding(self) -> None:
        size = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
        checksum = zlib.crc32(size).to_bytes(4, "big")
        huge = PNG[:12] + size + checksum + PNG[33:]
        with pytest.raises(ImageError, match="too large.*900000000 pixels"):
            decode(huge)
