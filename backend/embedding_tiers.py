"""Where embeddings are kept beyond one process: a folder, Redis.

A tier never raises: what fails is a miss, is counted, and is said once in the log until it works
again. Both hold the same bytes: safetensors with the features in fp16.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import redis
import safetensors.numpy
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from backend import metrics
from model.types import ImageEmbedding

logger = logging.getLogger(__name__)

_LOCK_FILES = 256
_LOCK_WAIT_S = 90.0  # longer than fetching an image may take and encoding it
_EVICT_TO = 0.9  # of the limit, so that not every write has to look again
_BLOCK_BYTES = 4096  # what a note of a few bytes takes on a disk
_REDIS_TTL_S = 7 * 24 * 3600
_REDIS_TIMEOUT_S = 2.0
_REDIS_LOCK_S = 8.0  # a host that dies while encoding is waited for no longer than this
_RETRY_AFTER_S = 10.0  # a Redis that does not answer is left alone this long


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


def pack(key: str, embedding: ImageEmbedding) -> bytes:
    """An embedding as bytes that prove what they are."""
    features = np.ascontiguousarray(embedding.features, dtype=np.float16)
    size = np.array(embedding.original_size, dtype=np.int64)
    return safetensors.numpy.save(
        {"features": features, "original_size": size, "checksum": _checksum(key, features, size)}
    )


def unpack(key: str, data: bytes) -> ImageEmbedding:
    """The embedding that :func:`pack` made bytes of.

    Raises:
        ValueError: they are damaged, cut off, or of another key.
    """
    try:
        arrays = safetensors.numpy.load(data)
        features, size = arrays["features"], arrays["original_size"]
        if not np.array_equal(arrays["checksum"], _checksum(key, features, size)):
            raise ValueError("the checksum is wrong")
        height, width = size.tolist()
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"damaged or foreign: {error}") from error
    return ImageEmbedding(features, (height, width))


class DiskTier:
    """A folder that workers, restarts and hosts may share.

    Files appear complete or not at all, and carry a checksum; the least recently used go first.

    Args:
        root: the folder; made when it is first needed.
        max_bytes: how much to keep. Processes look at the folder only now and then, and beside
            their work, so it may hold a few percent more for a while.
    """

    name = "disk"

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._health = _Health(self.name, f"the embedding cache in {root}")
        self._lock = threading.Lock()
        # as if the folder were full: what earlier runs left is counted at the first write
        self._written_unseen = max_bytes
        self._is_evicting = False

    def get(self, key: str) -> ImageEmbedding | None:
        """See :class:`Tier`. A damaged file is removed."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._health.failed(error)
            return None
        try:
            embedding = unpack(key, data)
        except ValueError as error:
            logger.warning("%s is removed: %s", path, error)
            metrics.TIER_FAILURES.labels(self.name).inc()
            self.drop(key)
            return None
        with suppress(OSError):  # only the order of eviction suffers
            os.utime(path)
        return embedding

    def has(self, key: str) -> bool:
        """See :class:`Tier`."""
        return self._path(key).exists()

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """See :class:`Tier`."""
        path = self._path(key)
        data = pack(key, embedding)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.replace(partial, path)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        except OSError as error:
            self._health.failed(error)
            return
        self._health.worked()
        self._evict_after(len(data))

    def drop(self, key: str) -> None:
        """See :class:`Tier`."""
        with suppress(OSError):
            self._path(key).unlink()

    def note_task(self, task_id: int, key: str) -> None:
        """See :class:`Tier`."""
        path = self._task_path(task_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a") as file:
                file.write(f"{key}\n")
        except OSError as error:
            self._health.failed(error)

    def forget_task(self, task_id: int) -> list[str]:
        """See :class:`Tier`."""
        path = self._task_path(task_id)
        try:
            keys = path.read_text().split()
            path.unlink()
        except OSError:
            return []
        return keys

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """See :class:`Tier`. The operating system frees the lock of a process that dies."""
        stripe = zlib.crc32(key.encode()) % _LOCK_FILES
        folder = self._root / "locks"
        lock = FileLock(folder / f"{stripe:02x}", timeout=_LOCK_WAIT_S, poll_interval=0.02)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except (OSError, Timeout, NotImplementedError) as error:
            self._health.failed(error)
        try:
            yield
        finally:
            lock.release()

    def _path(self, key: str) -> Path:
        return self._root / key[-2:] / f"{key}.safetensors"

    def _task_path(self, task_id: int) -> Path:
        return self._root / "tasks" / f"{task_id % 1000:03d}" / str(task_id)

    def _evict_after(self, written: int) -> None:
        """Look at the folder when enough has been written; nobody waits for it."""
        with self._lock:
            self._written_unseen += written
            if self._is_evicting or not self._has_much_unseen():
                return
            self._is_evicting = True
        # Tens of thousands of files on a network volume: too slow for a click to wait for.
        threading.Thread(target=self._evict, name="evict", daemon=True).start()

    def _has_much_unseen(self) -> bool:
        return self._written_unseen >= self._max_bytes / 100

    def _evict(self) -> None:
        while True:
            with self._lock:
                self._is_evicting = self._has_much_unseen()
                if not self._is_evicting:
                    return
                self._written_unseen = 0
            self._remove_excess()

    def _remove_excess(self) -> None:
        files = []
        for pattern, least in (("??/*", 0), ("tasks/*/*", _BLOCK_BYTES)):
            for path in self._root.glob(pattern):
                with suppress(OSError):  # another process was faster
                    status = path.stat()
                    files.append((status.st_mtime, max(status.st_size, least), path))
        excess = sum(size for _, size, _ in files) - self._max_bytes
        if excess <= 0:
            return
        excess += int(self._max_bytes * (1 - _EVICT_TO))
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            with suppress(OSError):
                path.unlink()
            excess -= size


class RedisTier:
    """A Redis that several hosts share. How much it keeps is its own setting (``maxmemory``)."""

    name = "redis"

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url, socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S
        )
        self._health = _Health(self.name, "Redis")
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
                self._client.set(self._name(key), pack(key, embedding), ex=_REDIS_TTL_S)
                self._health.worked()

    def drop(self, key: str) -> None:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            if is_up:
                self._client.delete(self._name(key))

    def note_task(self, task_id: int, key: str) -> None:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            if is_up:
                self._client.sadd(self._task_name(task_id), key)
                self._client.expire(self._task_name(task_id), _REDIS_TTL_S)

    def forget_task(self, task_id: int) -> list[str]:
        """See :class:`Tier`."""
        with self._trying() as is_up:
            if is_up:
                with self._client.pipeline() as pipeline:
                    pipeline.smembers(self._task_name(task_id))
                    pipeline.delete(self._task_name(task_id))
                    members, _ = pipeline.execute()
                return [key.decode() for key in members]
        return []

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """See :class:`Tier`. The lock of a host that dies ends by itself within seconds."""
        lock = self._client.lock(
            f"{self._name(key)}:lock",
            timeout=_REDIS_LOCK_S,
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
                with self._trying() as is_up:
                    if is_up:
                        lock.release()

    def _renew(self, lock: redis.lock.Lock, done: threading.Event) -> None:
        while not done.wait(_REDIS_LOCK_S / 3):
            with suppress(redis.RedisError):
                lock.reacquire()

    def _task_name(self, task_id: int) -> str:
        return f"mobile-sam:task:{task_id}"

    def _name(self, key: str) -> str:
        return f"mobile-sam:embedding:{key}"

    @contextmanager
    def _trying(self) -> Iterator[bool]:
        """Whether Redis is worth a try; what it raises inside is noted and swallowed."""
        try:
            yield time.monotonic() >= self._retry_at
        except redis.RedisError as error:
            self._retry_at = time.monotonic() + _RETRY_AFTER_S
            self._health.failed(error)


class _Health:
    """Says once that something has failed, and once that it works again."""

    def __init__(self, tier: str, what: str) -> None:
        self._tier = tier
        self._what = what
        self._is_well = True

    def failed(self, error: Exception) -> None:
        metrics.TIER_FAILURES.labels(self._tier).inc()
        if self._is_well:
            self._is_well = False
            logger.error("%s cannot be used, serving goes on without it: %s", self._what, error)

    def worked(self) -> None:
        if not self._is_well:
            self._is_well = True
            logger.info("%s works again", self._what)


def _checksum(key: str, *arrays: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    checksum = zlib.crc32(key.encode())
    for array in arrays:
        checksum = zlib.crc32(array.data, checksum)
    return np.array([checksum], dtype=np.uint32)
