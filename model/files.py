"""Files that appear complete or not at all, and files that are safe to open."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class NotRegularFileError(OSError):
    """A link, pipe, socket, device or folder is in the place of a regular file."""


def sentence(error: Exception) -> str:
    """What to tell of an error: a missing file without the number and the words of the system."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)} does not exist"
    return str(error)


@contextmanager
def write_atomically(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of ``path`` when the block ends.

    After an exception ``path`` is as it was before, and nothing else is left behind. The folder is
    made where it is missing.

    Args:
        path: the file.
        mode: its permissions; by default nobody but the owner may read it.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(partial, mode)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder to write into that gets its name when the block ends.

    After an exception nothing is left behind. The folder above is made where it is missing.

    Args:
        path: an empty folder may be in its place.

    Raises:
        ValueError: something else is in the place of the folder.
        OSError: the folder cannot be made.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path} exists already: choose a new folder, or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part"))
    try:
        yield partial
        partial.chmod(0o755)
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def open_regular(path: Path, flags: int) -> int:
    """Open a file, but follow no link at the end of its path and wait for no pipe.

    Args:
        path: the file.
        flags: as for :func:`os.open`. A new file is readable for its owner only.

    Returns:
        The file descriptor, which the caller closes.

    Raises:
        NotRegularFileError: something else is in the place of the file.
        OSError: the file cannot be opened.
    """
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        # A link; a pipe that nobody reads, or a socket; a folder.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise NotRegularFileError(error.errno, "it is no regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegularFileError(errno.EINVAL, "it is no regular file", str(path))
    return handle
