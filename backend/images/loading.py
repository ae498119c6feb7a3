"""A task's image as the annotator's browser shows it."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from backend.http.errors import HttpClientError
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.image_ref import ImageRef
from backend.label_studio.errors import LabelStudioError

# What browsers show, and TIFF. Pillow knows more, some of which start other programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "ICO", "TIFF")


class ImageLoader:
    """Fetches and decodes images. Threads may share it."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def load(self, ref: ImageRef) -> npt.NDArray[np.uint8]:
        """Get an image.

        Returns:
            H x W x 3 uint8 RGB, turned as its EXIF orientation says.

        Raises:
            ImageError: the image cannot be fetched or decoded.
        """
        try:
            if ref.path is not None:
                return decode(ref.path.read_bytes())
            return decode(self._fetcher.fetch(ref.url, ref.task_id))
        except (HttpClientError, LabelStudioError) as error:
            raise ImageError(str(error)) from error
        except OSError as error:
            raise ImageError(f"a local file cannot be read: {error.strerror}") from error


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode an image file as a browser shows it.

    The first frame, turned by its EXIF orientation, transparent parts on white, 16-bit channels
    cut to their upper 8 bits.

    Returns:
        H x W x 3 uint8 RGB.

    Raises:
        ImageError: it is no image, is broken, or has too many pixels.
    """
    if not content:
        raise ImageError("an empty file came in the place of an image")
    if content[:200].lstrip()[:1] == b"<":
        raise ImageError(
            "a web page or an SVG came in the place of an image: is the URL right, and does it"
            " need a login?"
        )
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as file:
            return _to_rgb(ImageOps.exif_transpose(file))
    except Image.DecompressionBombError as error:  # Pillow's own limit, 179 million pixels
        raise ImageError(f"the image is too large, use a smaller one: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"the {len(content)} bytes that came are no image of a kind that browsers show"
        ) from error
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise ImageError(
            f"the {len(content)} bytes that came are no image that can be decoded"
            f" ({type(error).__name__}: {error})"
        ) from error


def _to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16-bit greyscale, which Pillow's convert() would clip
        grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))
