"""What gunicorn's workers know of each other when they are replaced.

At a reload gunicorn starts new workers and tells the old workers to stop, both at once. A new
worker needs seconds to load the model. So the old workers go on until the new workers serve.
"""

from __future__ import annotations

import functools
import mmap

_PLACES = 1024  # workers that load at the same time; WORKERS allows 256
_NUMBER_BYTES = 8


class Handover:
    """Notes in memory that gunicorn's master shares with its workers.

    A worker is known by its age: gunicorn counts the workers that it starts. Only the master calls
    :meth:`loads`, so no two processes write to the same place.
    """

    def __init__(self) -> None:
        shared = mmap.mmap(-1, _NUMBER_BYTES * (_PLACES + 1))
        self._numbers = memoryview(shared).cast("q")

    def loads(self, age: int) -> None:
        """Note that a worker begins to load."""
        for place in range(1, _PLACES + 1):
            if not self._numbers[place]:
                self._numbers[place] = age
                return

    def ends_loading(self, age: int) -> None:
        """Note that a worker serves now, or that it has ended."""
        for place in range(1, _PLACES + 1):
            if self._numbers[place] == age:
                self._numbers[place] = 0

    def stops(self) -> None:
        """Note that all workers stop."""
        self._numbers[0] = 1

    @property
    def is_stopping(self) -> bool:
        """Whether all workers stop."""
        return bool(self._numbers[0])

    def is_awaited(self, age: int) -> bool:
        """Whether a worker that was told to stop is still needed: a newer worker loads."""
        return not self.is_stopping and any(other > age for other in self._numbers[1:])


@functools.cache
def handover() -> Handover:
    """The notes of this gunicorn. The first call must be the master's."""
    return Handover()
