"""A task's image as the annotator's browser shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.http.errors import HttpClientError
from backend.images.decoding import decode
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.image_ref import ImageRef
from backend.images.validator import Validator
from backend.label_studio.errors import LabelStudioError


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image.

    Attributes:
        pixels: H x W x 3 uint8 RGB; see :func:`backend.images.decoding.decode`.
        validator: tells later whether the file has changed.
    """

    pixels: npt.NDArray[np.uint8]
    validator: Validator


class ImageLoader:
    """Fetches and decodes images. Threads may share it."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def load(self, ref: ImageRef) -> LoadedImage:
        """Get an image.

        Raises:
            ImageError: the image cannot be fetched or decoded.
        """
        try:
            file = (
                self._fetcher.read(ref.path)
                if ref.path
                else self._fetcher.fetch(ref.url, ref.task_id)
            )
            return LoadedImage(decode(file.content), file.validator)
        except (HttpClientError, LabelStudioError) as error:
            raise ImageError(str(error)) from error
        except OSError as error:
            raise ImageError(f"a local file cannot be read: {error.strerror}") from error
