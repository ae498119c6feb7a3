"""A task's image as the annotator's browser shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.http.errors import HttpClientError
from backend.images.decoding import ScaledImage, decode, decode_scaled
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.image_ref import ImageRef
from backend.images.validator import Validator
from backend.label_studio.errors import LabelStudioError


@dataclass(frozen=True)
class LoadedImage:
    """An image file that is decoded at the size that is needed.

    Attributes:
        content: the bytes of the file.
        validator: tells later whether the file has changed.
    """

    content: bytes
    validator: Validator

    def scaled(self, longest_side: int, reported_size: tuple[int, int] | None) -> ScaledImage:
        """The image at the size that the network sees.

        Args:
            longest_side: pixels.
            reported_size: (H, W) of the image that the annotator sees, or None.

        Raises:
            ImageError: the file cannot be decoded.
        """
        return decode_scaled(self.content, longest_side, reported_size)

    def whole(self, reported_size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
        """The image in full, H x W x 3 uint8 RGB.

        Args:
            reported_size: (H, W) of the image that the annotator sees, or None.

        Raises:
            ImageError: the file cannot be decoded.
        """
        return decode(self.content, reported_size)


class ImageLoader:
    """Fetches images. Threads may share it."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def load(self, ref: ImageRef) -> LoadedImage:
        """Fetch an image.

        Raises:
            ImageError: the image cannot be fetched.
        """
        try:
            file = (
                self._fetcher.read(ref.path)
                if ref.path
                else self._fetcher.fetch(ref.url, ref.task_id)
            )
        except (HttpClientError, LabelStudioError) as error:
            raise ImageError(str(error)) from error
        except OSError as error:
            raise ImageError(f"a local file cannot be read: {error.strerror}") from error
        return LoadedImage(file.content, file.validator)
