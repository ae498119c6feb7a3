"""A folder of embeddings."""

from __future__ import annotations

import logging
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from backend import metrics
from backend.embeddings.codec import pack, unpack
from backend.embeddings.health import Health
from model.files import write_atomically
from model.types import ImageEmbedding

logger = logging.getLogger(__name__)

_LOCK_FILES = 256
_LOCK_WAIT_S = 90.0  # longer than it may take to fetch and encode an image
_EVICT_TO = 0.9  # of the limit, so that not every write has to look again
_BLOCK_BYTES = 4096  # what a note of a few bytes takes on a disk


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
        self._health = Health(self.name, f"the embedding cache in {root}")
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
            with write_atomically(path) as file:
                file.write(data)
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
