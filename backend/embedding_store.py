"""Keeps image embeddings, so that no image is encoded twice while its embedding is kept.

Memory first, then the tiers that several processes share. However many threads, workers and hosts
ask for one that nobody has, one of them computes it and the others wait.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack

import numpy as np

from backend import metrics
from backend.embedding_tiers import Tier
from model.types import ImageEmbedding

IsUrgent = Callable[[], bool]


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
        self._max_bytes = max_memory_bytes
        self._tiers = tiers
        self._bytes = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, ImageEmbedding] = OrderedDict()
        self._flights: dict[str, _Flight] = {}

    def get_or_compute(
        self, key: str, compute: Callable[[IsUrgent], ImageEmbedding], *, urgent: bool = True
    ) -> ImageEmbedding:
        """The embedding of ``key``, computed at most once however many ask for it.

        Args:
            key: letters, digits and dashes.
            compute: makes it. Gets a function that says whether somebody waits for it by now.
            urgent: whether somebody waits for this call.

        Raises:
            Exception: what ``compute`` raised, in every thread that waited for it. Nothing is
                kept then, so the next call tries again.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                metrics.EMBEDDING_HITS.labels("memory").inc()
                return self._kept[key]
            flight = self._flights.get(key)
            is_leader = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
            flight.is_urgent |= urgent
        if not is_leader:
            return flight.future.result()
        try:
            embedding = self._find_or_compute(key, compute, flight)
        except BaseException as error:
            with self._lock:
                del self._flights[key]
            flight.future.set_exception(error)
            raise
        with self._lock:
            del self._flights[key]
            self._keep(key, embedding)
        flight.future.set_result(embedding)
        return embedding

    def has(self, key: str) -> bool:
        """Whether a tier that outlives this process keeps ``key``."""
        return any(tier.has(key) for tier in self._tiers)

    def drop(self, key: str) -> None:
        """Forget an embedding, wherever it is kept."""
        with self._lock:
            self._remove(key)
        for tier in self._tiers:
            tier.drop(key)

    def note_task(self, task_id: int, key: str) -> None:
        """Note that a key belongs to a task."""
        for tier in self._tiers:
            tier.note_task(task_id, key)

    def forget_task(self, task_id: int) -> None:
        """Drop the embeddings that belong to a task, as far as a tier has noted them."""
        for key in {key for tier in self._tiers for key in tier.forget_task(task_id)}:
            self.drop(key)

    def _find_or_compute(
        self, key: str, compute: Callable[[IsUrgent], ImageEmbedding], flight: _Flight
    ) -> ImageEmbedding:
        found = self._find(key)
        if found is not None:
            return found
        with ExitStack() as held:
            for tier in self._tiers:
                held.enter_context(tier.hold(key))
            if self._tiers:  # another process may have computed it while this one waited
                found = self._find(key)
                if found is not None:
                    return found
            computed = compute(lambda: flight.is_urgent)
            embedding = ImageEmbedding(computed.features.astype(np.float16), computed.original_size)
            for tier in self._tiers:
                tier.put(key, embedding)
            return embedding

    def _find(self, key: str) -> ImageEmbedding | None:
        """Ask the tiers; what a wider one has, the narrower ones before it get too."""
        for index, tier in enumerate(self._tiers):
            embedding = tier.get(key)
            if embedding is not None:
                metrics.EMBEDDING_HITS.labels(tier.name).inc()
                for narrower in self._tiers[:index]:
                    narrower.put(key, embedding)
                return embedding
        return None

    def _keep(self, key: str, embedding: ImageEmbedding) -> None:
        self._remove(key)
        self._kept[key] = embedding
        self._bytes += embedding.features.nbytes
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._kept)))

    def _remove(self, key: str) -> None:
        embedding = self._kept.pop(key, None)
        if embedding is not None:
            self._bytes -= embedding.features.nbytes


class _Flight:
    """An embedding on its way, and whether anybody waits for it."""

    def __init__(self) -> None:
        self.future: Future[ImageEmbedding] = Future()
        self.is_urgent = False
