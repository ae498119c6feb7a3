"""Label Studio's local files, read from the folder that is mounted here."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from backend.http.errors import HttpClientError
from backend.images.validator import Validator


def find(root: Path, name: str) -> Path | None:
    """The regular file that a name of a local file means.

    Args:
        root: the folder that Label Studio serves as local files.
        name: the path of the file relative to ``root``. Windows separates folders with backslashes.

    Returns:
        The path with all links resolved; None if there is no such file inside ``root``.
    """
    root = root.resolve()
    for candidate in dict.fromkeys((name, name.replace("\\", "/"))):
        try:
            path = (root / candidate.lstrip("/")).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # missing, no valid path, or a ring of links
            continue
        if path.is_relative_to(root) and path.is_file():
            return path
    return None


def read(path: Path, max_bytes: int) -> tuple[bytes, Validator]:
    """The content of a regular file.

    Raises:
        HttpClientError: the file is larger than ``max_bytes``.
        OSError: the file cannot be read, or is not a regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe must not block
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is not a regular file")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise HttpClientError(
            f"a local file is larger than {max_bytes >> 20} MiB: use a smaller image"
        )
    return content, Validator.of_file(status, content)
