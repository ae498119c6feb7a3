"""A lock that one process at a time holds: a file that exists only while somebody wants the lock.

The operating system frees the lock of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model.files import open_regular

_POLL_S = 0.02


@contextmanager
def hold(path: Path, wait_s: float) -> Iterator[bool]:
    """Wait for a lock and hold it for the time of the block.

    Args:
        path: the file of the lock. Its folder exists. The file is removed after the block.
        wait_s: the longest wait, seconds.

    Yields:
        Whether the lock is held. False means that another holder kept it for too long.

    Raises:
        OSError: the file cannot be opened or locked.
    """
    handle = _acquire(path, time.monotonic() + wait_s)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with suppress(OSError):  # the folder was removed meanwhile
                path.unlink()
            os.close(handle)


def _acquire(path: Path, deadline: float) -> int | None:
    while True:
        handle = open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_S)
            continue
        except BaseException:
            os.close(handle)
            raise
        if _is_file_of(path, handle):
            return handle
        os.close(handle)  # the holder before removed the file after it was opened here


def _is_file_of(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False
