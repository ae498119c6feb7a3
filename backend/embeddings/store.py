"""Keeps image embeddings, so that no image is encoded twice while its embedding is kept.

Memory is asked first, then the tiers that several processes share. When many threads, workers and
hosts ask for an embedding that nobody has, one of them computes it and the others wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace

import cachetools
import numpy as np

from backend import metrics
from backend.embeddings.priority import Demand, Priority
from backend.embeddings.tiers import Tier
from backend.embeddings.waiting_room import WaitingRoom
from backend.images.errors import ImageError
from model.types import ImageEmbedding

logger = logging.getLogger(__name__)

Compute = Callable[[Demand], ImageEmbedding]
Size = tuple[int, int]


class EmbeddingStore:
    """A cache of embeddings. Threads may share it.

    Embeddings are kept in fp16, and also returned in fp16 right after they were computed. So a mask
    does not depend on the tier that an embedding came from.

    Args:
        max_memory_bytes: how many bytes of features to keep in this process. An embedding that is
            larger than this is returned and not kept.
        tiers: slower and wider places, in the order in which they are asked.
        features_shape: the shape that features must have, 1 x C x S/16 x S/16. An entry of a tier
            with another shape is removed and computed anew. None accepts every shape.
        max_waiting: how many threads of each team with the priority ``CLICK`` may wait for
            embeddings that are not in memory.
    """

    def __init__(
        self,
        max_memory_bytes: int,
        tiers: Sequence[Tier] = (),
        *,
        features_shape: tuple[int, ...] | None = None,
        max_waiting: int = 64,
    ) -> None:
        self._tiers = tiers
        self._features_shape = features_shape
        self._waiting_room = WaitingRoom(max_waiting)
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
        task: str | None = None,
        expected_size: Size | None = None,
        priority: Priority = Priority.CLICK,
        team: str = "",
    ) -> ImageEmbedding:
        """The embedding of ``key``. It is computed at most once, however many threads ask for it.

        Args:
            key: letters, digits and dashes.
            compute: makes the embedding. Its argument is the demand. The demand's priority rises
                when a more urgent call asks for the same key meanwhile.
            task: the name of the task to note an embedding under that is computed now.
            expected_size: the ``original_size`` (H, W) that the embedding must have, in pixels, or
                None. A kept embedding of another size is removed and computed anew.
            priority: the priority of this call.
            team: whose call it is.

        Raises:
            ImageError: too many clicks wait already, or the embedding is not finite.
            Exception: the exception of ``compute``, in every thread that waited for it. Nothing is
                kept then, so the next call tries again.
        """
        kept = self._in_memory(key, expected_size)
        if kept is not None:
            return kept
        with self.waiting(key, priority, team):
            while True:
                embedding = self._wait_for(key, compute, task, expected_size, priority)
                if embedding is not None:
                    return embedding

    def waiting(self, key: str, priority: Priority, team: str = "") -> AbstractContextManager[None]:
        """Hold a seat of those who wait, where the priority is that of a click.

        Raises:
            TooManyWaitingError: too many clicks wait already.
        """
        return self._waiting_room.seat(key, team) if priority is Priority.CLICK else nullcontext()

    def _in_memory(self, key: str, expected_size: Size | None) -> ImageEmbedding | None:
        with self._lock:
            kept = self._kept.get(key)
        if kept is None or not _fits(kept, expected_size):
            return None
        metrics.EMBEDDING_HITS.labels("memory").inc()
        return kept

    def _wait_for(
        self,
        key: str,
        compute: Compute,
        task: str | None,
        expected_size: Size | None,
        priority: Priority,
    ) -> ImageEmbedding | None:
        """Find or compute an embedding, or wait for the thread that does.

        None means that the other thread knew of no size and found the embedding of an older
        picture.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and _fits(kept, expected_size):
                return kept
            flight = self._flights.get(key)
            is_leader = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight(priority)
            flight.demand.join(priority)
        if is_leader:
            return self._lead(key, compute, flight, task, expected_size)
        embedding = flight.future.result()
        return embedding if flight.is_computed or _fits(embedding, expected_size) else None

    def has(self, key: str) -> bool:
        """Whether a tier, which outlives this process, keeps ``key``."""
        return any(tier.has(key) for tier in self._tiers)

    def drop(self, key: str) -> None:
        """Remove an embedding from memory and from every tier."""
        with self._lock:
            self._kept.pop(key, None)
        for tier in self._tiers:
            tier.drop(key)

    def drop_version(self, key: str, image_version: str) -> None:
        """Forget the embedding of one version of an image. Embeddings of other versions stay."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.image_version == image_version:
                del self._kept[key]
        for tier in self._tiers:
            found = tier.get(key)
            if found is not None and found.image_version == image_version:
                tier.drop(key)

    def forget_task(self, task: str) -> None:
        """Remove the embeddings of a task. A tier has noted which they are."""
        for key in {key for tier in self._tiers for key in tier.forget_task(task)}:
            self.drop(key)

    def _lead(
        self,
        key: str,
        compute: Compute,
        flight: _Flight,
        task: str | None,
        expected_size: Size | None,
    ) -> ImageEmbedding:
        """Find or compute an embedding for all threads that wait for the flight."""
        try:
            embedding = self._find(key, expected_size)
            if embedding is None:
                embedding = self._compute(key, compute, flight, task, expected_size)
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
        task: str | None,
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
            embedding = replace(computed, features=computed.features.astype(np.float16))
            if not np.isfinite(embedding.features).all():
                raise ImageError(
                    "the network's embedding of the image has values that are not finite"
                )
            for tier in self._tiers:
                tier.put(key, embedding)
                if task is not None:
                    tier.note_task(task, key)
            return embedding

    def _find(self, key: str, expected_size: Size | None) -> ImageEmbedding | None:
        """Ask the tiers. An embedding that a wider tier has is copied to the narrower tiers."""
        for index, tier in enumerate(self._tiers):
            embedding = tier.get(key)
            if embedding is None:
                continue
            if self._features_shape not in (None, embedding.features.shape):
                logger.warning(
                    "the entry %s of the %s tier is removed: its features are %s and should be %s",
                    *(key, tier.name, embedding.features.shape, self._features_shape),
                )
                metrics.TIER_FAILURES.labels(tier.name).inc()
                tier.drop(key)
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
    """An embedding that is being found or computed, and the threads that wait for it."""

    def __init__(self, priority: Priority) -> None:
        self.future: Future[ImageEmbedding] = Future()
        self.demand = Demand(priority)
        self.is_computed = False


def _fits(embedding: ImageEmbedding, expected_size: Size | None) -> bool:
    return expected_size in (None, embedding.original_size)
