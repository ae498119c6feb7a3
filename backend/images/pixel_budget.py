"""A budget of pixels that threads decode at the same time: memory stays bounded in a rush."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class PixelBudget:
    """Threads wait in the order in which they came, so large images get their turn too."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._left = pixels
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def spend(self, pixels: int) -> Iterator[None]:
        """Hold a part of the budget; wait until it is free.

        Args:
            pixels: of the image. One larger than the whole budget is decoded alone.
        """
        pixels = min(pixels, self._pixels)
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._left >= pixels)
                self._left -= pixels
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._left += pixels
                self._changed.notify_all()
