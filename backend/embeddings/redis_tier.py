"""Embeddings in a Redis."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.exceptions import LockError
from redis.retry import Retry

from backend import metrics
from backend.embeddings.codec import pack, unpack
from backend.embeddings.health import Health
from model.types import ImageEmbedding

logger = logging.getLogger(__name__)

_TTL_S = 7 * 24 * 3600
_TIMEOUT_S = 2.0
_LOCK_S = 8.0  # the longest wait for a host that died while it encoded
_LOCK_WAIT_S = 90.0  # longer than it may take to fetch and encode an image
_RETRY_AFTER_S = 10.0  # a Redis that does not answer is not asked again for this long


class RedisTier:
    """A Redis that several hosts share. Its own setting ``maxmemory`` limits how much it keeps.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
    """

    name = "redis"

    def __init__(self, url: str) -> None:
        # A connection that the server has closed is opened again, once and at once. A server that
        # does not answer is not asked twice: a click waits for the answer.
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        self._client = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=retry
        )
        self._health = Health(self.name, "Redis")
        self._retry_at = 0.0

    def get(self, key: str) -> ImageEmbedding | None:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            data = self._client.get(self._name(key)) if is_up else None
            if isinstance(data, bytes):
                try:
                    return unpack(key, data)
                except ValueError as error:
                    logger.warning("the entry %s in Redis is removed: %s", key, error)
                    metrics.TIER_FAILURES.labels(self.name).inc()
                    self._client.delete(self._name(key))
        return None

    def has(self, key: str) -> bool:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            if is_up:
                return bool(self._client.exists(self._name(key)))
        return False

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            if is_up:
                self._client.set(self._name(key), pack(key, embedding), ex=_TTL_S)
                self._health.worked()

    def drop(self, key: str) -> None:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            if is_up:
                self._client.delete(self._name(key))

    def note_task(self, task: str, key: str) -> None:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            if is_up:
                self._client.sadd(self._task_name(task), key)
                self._client.expire(self._task_name(task), _TTL_S)

    def forget_task(self, task: str) -> list[str]:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            if is_up:
                with self._client.pipeline() as pipeline:
                    pipeline.smembers(self._task_name(task))
                    pipeline.delete(self._task_name(task))
                    members, _ = pipeline.execute()
                return [key.decode() for key in members]
        return []

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """See :class:`Tier`. Where the lock is not available, the work is done without it.

        The lock of a host that dies ends by itself after 8 s. Redis may also remove a lock to free
        memory: then the lock is taken again, if no other host has taken it.
        """
        lock = self._client.lock(
            f"{self._name(key)}:lock",
            timeout=_LOCK_S,
            blocking_timeout=_LOCK_WAIT_S,
            thread_local=False,  # another thread renews it
        )
        done = threading.Event()
        renewer: threading.Thread | None = None
        with self._trying() as is_up:
            if is_up and lock.acquire():
                renewer = threading.Thread(target=self._renew, args=(lock, done), daemon=True)
                renewer.start()
        try:
            yield
        finally:
            done.set()
            if renewer is not None:
                renewer.join()
                self._release(lock)

    def _renew(self, lock: redis.lock.Lock, done: threading.Event) -> None:
        while not done.wait(_LOCK_S / 3):
            with self._trying() as is_up:
                if not is_up:
                    continue
                try:
                    lock.reacquire()
                except LockError:
                    lock.acquire(blocking=False)

    def _release(self, lock: redis.lock.Lock) -> None:
        with self._trying() as is_up:
            if is_up:
                try:
                    lock.release()
                except LockError:  # Redis works: it has removed the lock to free memory
                    logger.debug("the lock %s in Redis was lost", lock.name)

    def _task_name(self, task: str) -> str:
        return f"mobile-sam:task:{task}"

    def _name(self, key: str) -> str:
        return f"mobile-sam:embedding:{key}"

    @contextmanager
    def _trying(self) -> Iterator[bool]:
        """Whether Redis may be asked now. An error of Redis inside the block is noted and dropped.

        An error answer, such as "out of memory" to a write, is a failure too. But Redis goes on
        being asked: it may still answer reads.
        """
        try:
            yield time.monotonic() >= self._retry_at
        except redis.ResponseError as error:
            self._health.failed(error)
        except redis.RedisError as error:
            self._retry_at = time.monotonic() + _RETRY_AFTER_S
            self._health.failed(error)
