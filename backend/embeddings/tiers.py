"""The protocol of the places that keep embeddings beyond one process.

A tier never raises: a failure is a miss, is counted, and is said once in the log until the tier
works again.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from model.types import ImageEmbedding


class Tier(Protocol):
    """A place that keeps embeddings for several processes."""

    name: str

    def get(self, key: str) -> ImageEmbedding | None:
        """The embedding of ``key``, or None."""

    def has(self, key: str) -> bool:
        """Whether ``key`` is kept, without reading it."""

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """Keep an embedding."""

    def drop(self, key: str) -> None:
        """Forget an embedding."""

    def note_task(self, task_id: int, key: str) -> None:
        """Note that a key belongs to a task."""

    def forget_task(self, task_id: int) -> list[str]:
        """The keys noted for a task, which are noted no longer."""

    def hold(self, key: str) -> AbstractContextManager[None]:
        """Keep every other process that shares the tier from computing ``key``."""
