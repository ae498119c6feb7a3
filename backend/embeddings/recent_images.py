"""The images that annotators clicked on last, decoded: a small object needs a crop of them."""

from __future__ import annotations

import threading

import cachetools
import numpy as np
import numpy.typing as npt

_MAX_BYTES = 64 << 20  # one image of 12 megapixels takes 36 MB


class RecentImages:
    """A few decoded images. Threads may share them.

    An image that alone is larger than the limit is not kept.
    """

    def __init__(self) -> None:
        self._images: cachetools.LRUCache[str, npt.NDArray[np.uint8]] = cachetools.LRUCache(
            _MAX_BYTES, getsizeof=lambda image: image.nbytes
        )
        self._lock = threading.Lock()

    def get(self, key: str) -> npt.NDArray[np.uint8] | None:
        """The image, H x W x 3 uint8 RGB, or None."""
        with self._lock:
            return self._images.get(key)

    def keep(self, key: str, image: npt.NDArray[np.uint8]) -> None:
        """Keep an image, H x W x 3 uint8 RGB. The least recently used images go first."""
        if image.nbytes <= _MAX_BYTES:
            with self._lock:
                self._images[key] = image
