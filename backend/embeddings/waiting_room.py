"""Bounds how many clicks wait for an embedding, so that other clicks find a free thread."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from backend.images.errors import ImageError


class TooManyWaitingError(ImageError):
    """Too many clicks wait for images already. The next click is a new attempt."""

    def __init__(self) -> None:
        super().__init__(
            "the image is not loaded yet, and too many clicks wait for images already: click again"
            " in a few seconds"
        )


class WaitingRoom:
    """Seats for threads that wait until an image is loaded and encoded.

    A thread that finds no seat gets an error at once. The next click of the annotator is a new
    attempt.

    Args:
        seats: how many threads of each team may wait at the same time. The threads that wait for
            the same key take at most half of the seats, so that one slow image does not stop the
            other images.
    """

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._seats_of_a_key = max(1, seats // 2)
        self._taken: Counter[str] = Counter()
        self._taken_by: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def seat(self, key: str, team: str = "") -> Iterator[None]:
        """Take a seat for the time of the block.

        Args:
            key: what the thread waits for.
            team: whose seat it takes.

        Raises:
            TooManyWaitingError: no seat is free.
        """
        with self._lock:
            of_team = self._taken_by[team]
            if of_team >= self._seats or self._taken[key] >= self._seats_of_a_key:
                raise TooManyWaitingError
            self._taken[key] += 1
            self._taken_by[team] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken_by[team] -= 1
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]
