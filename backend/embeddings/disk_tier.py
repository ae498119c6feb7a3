"""Embeddings in a folder."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from backend import metrics
from backend.embeddings import file_lock
from backend.embeddings.codec import pack, unpack
from backend.embeddings.health import Health
from model.files import NotRegularFileError, open_regular, write_atomically
from model.types import ImageEmbedding

logger = logging.getLogger(__name__)

_LOCK_WAIT_S = 90.0  # longer than it may take to fetch and encode an image
_LOCK_IS_OLD_S = 3600.0
_MAX_ENTRY_BYTES = 64 << 20  # an embedding of the published checkpoint takes 2 MiB
_MAX_NOTE_BYTES = 1 << 20
_EVICT_TO = 0.9  # of the limit, so that the folder is not listed after every write
_BLOCK_BYTES = 4096  # disk space that a note of a few bytes takes


class DiskTier:
    """A folder that workers, restarts and hosts may share.

    A file is either complete or absent, and holds a checksum. The least recently used files are
    removed first. Only regular files are read: this tier writes no links, so a link in the place of
    an entry is removed like a damaged entry. The folder itself may be a link.

    Args:
        root: the folder. It is made when it is first needed.
        max_bytes: how much to keep. A process lists the folder only now and then, and in a thread
            of its own, so the folder may hold a few percent more for a while.
    """

    name = "disk"

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._health = Health(self.name, f"the embedding cache in {root}")
        self._lock = threading.Lock()
        # As if the folder were full: the files of earlier runs are counted at the first write.
        self._written_unseen = max_bytes
        self._is_evicting = False

    def get(self, key: str) -> ImageEmbedding | None:
        """See :class:`Tier`."""
        path = self._path(key)
        try:
            embedding = unpack(key, _read(path, _MAX_ENTRY_BYTES))
        except FileNotFoundError:
            return None
        except (ValueError, NotRegularFileError) as error:
            logger.warning("%s is removed: %s", path, error)
            metrics.TIER_FAILURES.labels(self.name).inc()
            self.drop(key)
            return None
        except OSError as error:
            self._health.failed(error)
            return None
        with suppress(OSError):  # without it only the order of eviction is wrong
            os.utime(path)
        return embedding

    def has(self, key: str) -> bool:
        """See :class:`Tier`."""
        try:
            return stat.S_ISREG(self._path(key).lstat().st_mode)
        except OSError:
            return False

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
        _remove(self._path(key))

    def note_task(self, task: str, key: str) -> None:
        """See :class:`Tier`."""
        path = self._task_path(task)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _append(path, f"{key}\n")
        except OSError as error:
            self._health.failed(error)

    def forget_task(self, task: str) -> list[str]:
        """See :class:`Tier`."""
        path = self._task_path(task)
        try:
            keys = _read(path, _MAX_NOTE_BYTES).decode(errors="replace").split()
        except (OSError, ValueError):
            keys = []
        _remove(path)
        return keys

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """See :class:`Tier`. Where the lock is not available, the work is done without it."""
        path = self._root / "locks" / key
        with ExitStack() as held:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(file_lock.hold(path, _LOCK_WAIT_S))
            except NotRegularFileError:
                _remove(path)
            except OSError as error:
                self._health.failed(error)
            yield

    def _path(self, key: str) -> Path:
        return self._root / key[-2:] / f"{key}.safetensors"

    def _task_path(self, task: str) -> Path:
        return self._root / "tasks" / task[-3:].zfill(3) / task

    def _evict_after(self, written: int) -> None:
        """Look at the folder when enough has been written. The caller does not wait for it."""
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
            self._remove_old_locks()

    def _remove_excess(self) -> None:
        files = []
        for pattern, least in (("??/*", 0), ("tasks/*/*", _BLOCK_BYTES)):
            for path in self._root.glob(pattern):
                with suppress(OSError):  # another process has removed the file
                    status = path.lstat()
                    if status.st_size > _MAX_ENTRY_BYTES:  # no entry, perhaps a sparse file
                        path.unlink()
                        continue
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

    def _remove_old_locks(self) -> None:
        """Remove the lock files of processes that were killed."""
        newest = time.time() - _LOCK_IS_OLD_S
        for path in self._root.glob("locks/*"):
            with suppress(OSError):
                if path.lstat().st_mtime < newest:
                    with file_lock.hold(path, 0):  # removes the file, unless somebody holds it
                        pass


def _read(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file.

    Raises:
        NotRegularFileError, OSError: the file cannot be read.
        ValueError: the file is larger than ``max_bytes``.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it has more than {max_bytes} bytes")
    return data


def _append(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        handle = open_regular(path, flags)
    except NotRegularFileError:
        _remove(path)
        handle = open_regular(path, flags)
    with os.fdopen(handle, "a") as file:
        file.write(text)


def _remove(path: Path) -> None:
    """Remove a file, a link, a pipe or an empty folder. A folder with content stays."""
    with suppress(OSError):
        path.rmdir() if stat.S_ISDIR(path.lstat().st_mode) else path.unlink()
