"""The image files that annotators clicked on last: a small object needs a crop of its image."""

from __future__ import annotations

import threading

import cachetools

from backend.images.loading import LoadedImage

_MAX_BYTES = 64 << 20


class RecentImages:
    """A few image files, not decoded: a tenth of the memory. Threads may share them.

    A file that alone is larger than the limit is not kept.
    """

    def __init__(self) -> None:
        self._images: cachetools.LRUCache[str, LoadedImage] = cachetools.LRUCache(
            _MAX_BYTES, getsizeof=lambda image: len(image.content)
        )
        self._lock = threading.Lock()

    def get(self, name: str) -> LoadedImage | None:
        """The image file kept under a name, or None."""
        with self._lock:
            return self._images.get(name)

    def keep(self, name: str, image: LoadedImage) -> None:
        """Keep an image file. The least recently used files go first."""
        if len(image.content) <= _MAX_BYTES:
            with self._lock:
                self._images[name] = image
