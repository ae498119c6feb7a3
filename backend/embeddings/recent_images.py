"""Keeps the decoded images of the last clicks. The crop of a small object is cut out of them."""

from __future__ import annotations

import threading

import cachetools
import numpy as np
import numpy.typing as npt

_MAX_BYTES = 64 << 20  # one image of 12 megapixels takes 36 MB


class RecentImages:
    """A few decoded images, 64 MiB at most. Threads may share the object.

    An image that is larger than the limit is not kept.
    """

    def __init__(self) -> None:
        self._images: cachetools.LRUCache[str, npt.NDArray[np.uint8]] = cachetools.LRUCache(
            _MAX_BYTES, getsizeof=lambda image: image.nbytes
        )
        self._lock = threading.Lock()

    def get(self, key: str) -> npt.NDArray[np.uint8] | None:
        """The image, H x W x 3 uint8 RGB, or None where it is not kept."""
        with self._lock:
            return self._images.get(key)

    def keep(self, key: str, image: npt.NDArray[np.uint8]) -> None:
        """Keep an image, H x W x 3 uint8 RGB. The least recently used images are removed first."""
        if image.nbytes <= _MAX_BYTES:
            with self._lock:
                self._images[key] = image
