"""Where suggestions wait until their task is submitted: in a folder, or in a Redis.

The webhook of a submission may reach another worker, or another host, than the clicks did.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from model.files import open_regular, write_atomically

KEPT_S = 7 * 24 * 3600  # then a suggestion of a task that nobody submits is forgotten
_MOST_OF_TASK = 500  # suggestions
_LARGEST = 1 << 20  # bytes of a suggestion; most have some kilobytes
_MOST_FILES = 20_000
_MOST_BYTES = 512 << 20  # of all suggestions
_PRUNE_EVERY = 500  # suggestions
_PRUNE_BYTES = 64 << 20  # bytes of new suggestions
_TIMEOUT_S = 2.0
_TASKS = "[0-9]*-[0-9]*"  # the folders of tasks
_NAMES_AT_ONCE = 1_000  # that Redis looks through before it answers others
_TAKEN = "taken-"  # the folders of tasks that are being counted begin with it
_TAKEN_S = 3600.0

Task = tuple[int, int]  # the ids of the project and of the task


class Place(Protocol):
    """Keeps suggestions, as bytes, for each task. A suggestion above 1 MiB is not kept.

    Raises:
        OSError, redis.RedisError: the place cannot be used.
    """

    def put(self, task: Task, data: bytes) -> None:
        """Keep a suggestion."""

    def has(self, task: Task) -> bool:
        """Whether suggestions of a task are kept."""

    def take(self, task: Task) -> list[bytes]:
        """Remove and return the suggestions of a task. Only one of several callers gets them."""


class FolderPlace:
    """A folder that the workers of a host share.

    Args:
        folder: the folder. It is made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unseen = _Unseen()

    def put(self, task: Task, data: bytes) -> None:
        """See :class:`Place`."""
        if len(data) > _LARGEST:
            return
        with write_atomically(self._of(task) / uuid.uuid4().hex) as file:
            file.write(data)
        if self._unseen.is_much_with(data):
            self._prune()

    def has(self, task: Task) -> bool:
        """See :class:`Place`."""
        return self._of(task).is_dir()

    def take(self, task: Task) -> list[bytes]:
        """See :class:`Place`."""
        taken = self._folder / f"{_TAKEN}{uuid.uuid4().hex}"
        try:
            self._of(task).rename(taken)
        except FileNotFoundError:
            return []
        try:
            newest = sorted(taken.iterdir(), key=_modified)[-_MOST_OF_TASK:]
            found = [_read(path) for path in newest if path.suffix != ".part"]
            return [data for data in found if data is not None]
        finally:
            shutil.rmtree(taken, ignore_errors=True)

    def _of(self, task: Task) -> Path:
        return self._folder / "{}-{}".format(*task)

    def _prune(self) -> None:
        """Remove the oldest files, and folders without files."""
        files = sorted(self._folder.glob(f"{_TASKS}/*"), key=_modified)
        sizes = [_size(path) for path in files]
        excess, excess_bytes = len(files) - _MOST_FILES, sum(sizes) - _MOST_BYTES
        oldest = time.time() - KEPT_S
        for index, (path, size) in enumerate(zip(files, sizes, strict=True)):
            if index >= excess and excess_bytes <= 0 and _modified(path) >= oldest:
                break
            excess_bytes -= size
            with suppress(OSError):  # another process has removed it
                path.unlink()
        for folder in self._folder.glob(_TASKS):
            with suppress(OSError):  # it has files
                folder.rmdir()
        for folder in self._folder.glob(f"{_TAKEN}*"):  # of a process that was killed
            if _modified(folder) < time.time() - _TAKEN_S:
                shutil.rmtree(folder, ignore_errors=True)


class RedisPlace:
    """A Redis that several hosts share.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: the first part of the names of the lists.
    """

    def __init__(self, url: str, prefix: str) -> None:
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        self._client = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=retry
        )
        self._prefix = prefix
        self._unseen = _Unseen()

    def put(self, task: Task, data: bytes) -> None:
        """See :class:`Place`."""
        if len(data) > _LARGEST:
            return
        name = self._name(task)
        with self._client.pipeline() as pipeline:
            pipeline.rpush(name, data)
            pipeline.ltrim(name, -_MOST_OF_TASK, -1)
            pipeline.expire(name, KEPT_S)
            pipeline.execute()
        if self._unseen.is_much_with(data):
            self._prune()

    def has(self, task: Task) -> bool:
        """See :class:`Place`."""
        return bool(self._client.exists(self._name(task)))

    def take(self, task: Task) -> list[bytes]:
        """See :class:`Place`."""
        name = self._name(task)
        with self._client.pipeline() as pipeline:  # one transaction
            pipeline.lrange(name, 0, -1)
            pipeline.delete(name)
            found: list[Any] = pipeline.execute()
        return list(found[0])

    def _prune(self) -> None:
        """Remove the lists of the tasks that were clicked in least recently.

        Lists are found by their names, and ordered by the time that they have left. An index of
        them would not outlive a Redis that frees memory.
        """
        pattern = f"{self._prefix}:[0-9]*:[0-9]*"
        names = list(set(self._client.scan_iter(pattern, count=_NAMES_AT_ONCE)))
        with self._client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.pttl(name)
                pipeline.memory_usage(name)
            answers = pipeline.execute()
        kept_bytes = 0
        newest = sorted(zip(answers[::2], names, answers[1::2], strict=True), reverse=True)
        for _, name, nbytes in newest:
            kept_bytes += nbytes or 0  # None where the list has been taken
            if kept_bytes > _MOST_BYTES:
                self._client.delete(name)

    def _name(self, task: Task) -> str:
        return "{}:{}:{}".format(self._prefix, *task)


class _Unseen:
    """Says when so much is new in a place that its limits are looked at again."""

    def __init__(self) -> None:
        self._count = _PRUNE_EVERY  # what earlier runs left is looked at once
        self._bytes = 0

    def is_much_with(self, data: bytes) -> bool:
        """Count a suggestion. Whether there are many by now; then the counting begins anew."""
        self._count += 1
        self._bytes += len(data)
        is_much = self._count >= _PRUNE_EVERY or self._bytes >= _PRUNE_BYTES
        if is_much:
            self._count = self._bytes = 0
        return is_much


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # another process has removed it
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # another process has removed it
        return 0


def _read(path: Path) -> bytes | None:
    """The bytes of a file; None where it cannot be read."""
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            return file.read(_LARGEST)
    except OSError:
        return None
