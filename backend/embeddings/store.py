"""Keeps image embeddings, so that no image is encoded twice while its embedding is kept.

Memory first, then the tiers that several processes share. However many threads, workers and hosts
ask for an embedding that nobody has, one of them computes it and the others wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack

import cachetools
import numpy as np

from backend import metrics
from backend.embeddings.priority import Demand, Priority
from backend.embeddings.tiers import Tier
from model.types import ImageEmbedding

Compute = Callable[[Demand], ImageEmbedding]
Size = tuple[int, int]


class EmbeddingStore:
    """A cache of embeddings that threads may share.

    Embeddings are kept, and handed out from the first time on, in fp16: half the memory, and the
    same mask whichever tier an embedding came from.

    Args:
        max_memory_bytes: how many bytes of features to keep in this process. An embedding that
            alone is larger is handed out and not kept.
        tiers: slower and wider ones, in the order in which they are asked.
    """

    def __init__(self, max_memory_bytes: int, tiers: Sequence[Tier] = ()) -> None:
        self._tiers = tiers
        self._lock = threading.Lock()
        self._max_bytes = max_memory_bytes
        self._kept: cachetools.LRUCache[str, ImageEmbedding] = cachetools.LRUCache(
            max_memory_bytes, getsizeof=lambda embedding: embedding.features.nbytes
        )
        self._flights: dict[str, _Flight] = {}

    def get_or_compute(
        self,
        key: str,
        compute: Compute,
        *,
        task_id: int | None = None,
        expected_size: Size | None = None,
        priority: Priority = Priority.CLICK,
    ) -> ImageEmbedding:
        """The embedding of ``key``, computed at most once however many ask for it.

        Args:
            key: letters, digits and dashes.
            compute: makes the embedding. It gets the demand, whose priority rises when somebody
                more urgent asks for the same key meanwhile.
            task_id: the task that an embedding computed now belongs to.
            expected_size: the ``original_size`` (H, W) that the embedding must have, where that is
                known. A kept embedding of another size is dropped and computed anew.
            priority: of this call.

        Raises:
            Exception: what ``compute`` raised, in every thread that waited for it. Nothing is
                kept then, so the next call tries again.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and _fits(kept, expected_size):
                metrics.EMBEDDING_HITS.labels("memory").inc()
                return kept
            flight = self._flights.get(key)
            is_leader = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight(priority)
            flight.demand.join(priority)
        if is_leader:
            return self._lead(key, compute, flight, task_id, expected_size)
        embedding = flight.future.result()
        if flight.is_computed or _fits(embedding, expected_size):
            return embedding
        # The leader knew of no size and found an embedding of an older picture.
        return self.get_or_compute(
            key, compute, task_id=task_id, expected_size=expected_size, priority=priority
        )

    def has(self, key: str) -> bool:
        """Whether a tier that outlives this process keeps ``key``."""
        return any(tier.has(key) for tier in self._tiers)

    def drop(self, key: str) -> None:
        """Forget an embedding, wherever it is kept."""
        with self._lock:
            self._kept.pop(key, None)
        for tier in self._tiers:
            tier.drop(key)

    def forget_task(self, task_id: int) -> None:
        """Drop the embeddings that belong to a task, as far as a tier has noted them."""
        for key in {key for tier in self._tiers for key in tier.forget_task(task_id)}:
            self.drop(key)

    def _lead(
        self,
        key: str,
        compute: Compute,
        flight: _Flight,
        task_id: int | None,
        expected_size: Size | None,
    ) -> ImageEmbedding:
        """Find or compute for all who wait for the flight."""
        try:
            embedding = self._find(key, expected_size)
            if embedding is None:
                embedding = self._compute(key, compute, flight, task_id, expected_size)
        except BaseException as error:
            with self._lock:
                del self._flights[key]
            flight.future.set_exception(error)
            raise
        with self._lock:
            del self._flights[key]
            if embedding.features.nbytes <= self._max_bytes:
                self._kept[key] = embedding
        flight.future.set_result(embedding)
        return embedding

    def _compute(
        self,
        key: str,
        compute: Compute,
        flight: _Flight,
        task_id: int | None,
        expected_size: Size | None,
    ) -> ImageEmbedding:
        with ExitStack() as held:
            for tier in self._tiers:
                held.enter_context(tier.hold(key))
            if self._tiers:  # another process may have computed it while this one waited
                found = self._find(key, expected_size)
                if found is not None:
                    return found
            computed = compute(flight.demand)
            flight.is_computed = True
            embedding = ImageEmbedding(computed.features.astype(np.float16), computed.original_size)
            for tier in self._tiers:
                tier.put(key, embedding)
                if task_id is not None:
                    tier.note_task(task_id, key)
            return embedding

    def _find(self, key: str, expected_size: Size | None) -> ImageEmbedding | None:
        """Ask the tiers; what a wider tier has, the narrower ones before it get too."""
        for index, tier in enumerate(self._tiers):
            embedding = tier.get(key)
            if embedding is None:
                continue
            if not _fits(embedding, expected_size):
                self.drop(key)
                return None
            metrics.EMBEDDING_HITS.labels(tier.name).inc()
            for narrower in self._tiers[:index]:
                narrower.put(key, embedding)
            return embedding
        return None


class _Flight:
    """An embedding on its way to everybody who waits for it."""

    def __init__(self, priority: Priority) -> None:
        self.future: Future[ImageEmbedding] = Future()
        self.demand = Demand(priority)
        self.is_computed = False


def _fits(embedding: ImageEmbedding, expected_size: Size | None) -> bool:
    return expected_size in (None, embedding.original_size)
