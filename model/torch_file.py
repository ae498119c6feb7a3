"""Reads a flat state dict that ``torch.save`` wrote, without torch and without running anything.

The file is a zip archive: ``data.pkl`` is a pickle that describes the tensors, and ``data/<key>``
holds the numbers of one storage. ``model/tensor_pickle.py`` follows the pickle.
"""

from __future__ import annotations

import mmap
import re
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from model.tensor_pickle import read_tensors

_PICKLE = "data.pkl"
# The published file has 445 entries and a pickle of 59 kB.
_MOST_ENTRIES = 10_000
_LARGEST_PICKLE = 4 << 20
_ENTRY_SIGNATURE = re.compile(rb"PK\x01\x02")


def read_state_dict(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a file, by their names.

    Arrays of one storage share its memory, so that all of them together are no larger than the
    file.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is of another kind, is cut off, or holds something else than tensors.
            The text is the second half of a sentence that begins with the file's name.
    """
    with open(path, "rb") as file:
        try:
            _check_entry_count(file)
            with zipfile.ZipFile(file) as archive:
                entries = _Entries(archive, path.stat().st_size)
                found = read_tensors(entries.description(), entries.storage)
        except (zipfile.BadZipFile, struct.error, RuntimeError, EOFError, OSError) as error:
            raise ValueError(f"is no complete zip archive ({error})") from error
    return found


def _check_entry_count(file: IO[bytes]) -> None:
    """zipfile makes an object of every entry before anybody can ask how many there are."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for count, _ in enumerate(_ENTRY_SIGNATURE.finditer(content)):
            if count == _MOST_ENTRIES:
                raise ValueError(f"has more than {_MOST_ENTRIES} entries")


class _Entries:
    """The entries of the archive. None is compressed, and no storage is read twice."""

    def __init__(self, archive: zipfile.ZipFile, file_size: int) -> None:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("has compressed entries, which torch does not write")
        if sum(entry.file_size for entry in entries) > file_size:
            raise ValueError("has entries that are larger than the file")
        self._sizes = {entry.filename: entry.file_size for entry in entries}
        roots = [name for name in self._sizes if name.split("/")[-1] == _PICKLE]
        if len(roots) != 1:
            raise ValueError("is a zip archive, but torch did not write it")
        self._root = roots[0].removesuffix(_PICKLE)
        self._archive = archive
        self._storages: dict[str, npt.NDArray[Any]] = {}

    def description(self) -> bytes:
        """The pickle."""
        if self._sizes.get(f"{self._root}byteorder") and self._read("byteorder") != b"little":
            raise ValueError("has numbers in another byte order")
        if self._sizes[self._root + _PICKLE] > _LARGEST_PICKLE:
            raise ValueError(f"describes its tensors in more than {_LARGEST_PICKLE} bytes")
        return self._read(_PICKLE)

    def storage(self, key: str, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
        """The ``count`` numbers of a storage."""
        if key not in self._storages:
            content = self._read(f"data/{key}")
            if len(content) != count * dtype.itemsize:
                raise ValueError(f"has {len(content)} bytes for {count} numbers of {dtype}")
            self._storages[key] = np.frombuffer(content, dtype)
        return self._storages[key]

    def _read(self, name: str) -> bytes:
        if self._root + name not in self._sizes:
            raise ValueError(f"lacks the entry {name[:40]!a}")
        return self._archive.read(self._root + name)
