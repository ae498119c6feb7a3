"""The protocol of a tier: a place that keeps embeddings for several processes.

A tier never raises. A failure counts as a miss. It is counted in /metrics, and the log names the
first failure of a row.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from model.types import ImageEmbedding


class Tier(Protocol):
    """A place that keeps embeddings for several processes."""

    name: str

    def get(self, key: str) -> ImageEmbedding | None:
        """The embedding of ``key``, or None. A damaged entry is removed and is None."""

    def has(self, key: str) -> bool:
        """Whether ``key`` is kept. The entry is not read."""

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """Keep an embedding."""

    def drop(self, key: str) -> None:
        """Remove an embedding."""

    def note_task(self, task: str, key: str) -> None:
        """Note that a key belongs to a task."""

    def forget_task(self, task: str) -> list[str]:
        """Return the keys that were noted for a task, and remove the note."""

    def hold(self, key: str) -> AbstractContextManager[None]:
        """Keep every other process that shares the tier from computing ``key`` meanwhile."""
