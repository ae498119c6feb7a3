"""A task's image as the annotator's browser shows it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backend.http.errors import HttpClientError
from backend.images.decoding import decode
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.image_ref import ImageRef
from backend.label_studio.errors import LabelStudioError


class ImageLoader:
    """Fetches and decodes images. Threads may share it."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def load(self, ref: ImageRef) -> npt.NDArray[np.uint8]:
        """Get an image.

        Returns:
            H x W x 3 uint8 RGB; see :func:`backend.images.decoding.decode`.

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
