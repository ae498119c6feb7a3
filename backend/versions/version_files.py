"""The learnt decoders of projects in a folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from backend.versions.activation import Activation
from backend.versions.errors import VersionError
from model.decoder_file import LARGEST_FILE
from model.files import open_regular, write_atomically

logger = logging.getLogger(__name__)

_NAME = re.compile(r"v([1-9][0-9]{0,8})\.safetensors")
_ACTIVATION_NAME = "active.json"
_LARGEST_ACTIVATION = 1 << 16  # bytes
_LOCK_WAIT_S = 30.0
_MODE = 0o644  # the workers of another user may serve what was learnt


class VersionFiles:
    """One folder for each project, with a file for each version. Hosts may share the folder.

    Args:
        folder: holds the folders of the projects. It is made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._complaints: dict[int, str] = {}  # told once, until the file is right again

    def projects(self) -> list[int]:
        """The projects that have a folder."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except OSError:
            return []
        return sorted(int(name) for name in names if name.isdecimal())

    def numbers(self, project_id: int) -> list[int]:
        """The versions of a project, in their order."""
        try:
            names = os.listdir(self._of(project_id))
        except OSError:
            return []
        return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))

    def path(self, project_id: int, number: int) -> Path:
        """The file of a version, whether it is there or not."""
        return self._of(project_id) / f"v{number}.safetensors"

    def read(self, project_id: int, number: int) -> bytes | None:
        """The bytes of a version, or None where it has no file.

        Raises:
            OSError, ValueError: the file cannot be read.
        """
        return _read(self.path(project_id, number), LARGEST_FILE)

    def write(self, project_id: int, number: int, data: bytes) -> None:
        """Write the file of a version. It is complete or not there.

        Raises:
            OSError: the file cannot be written.
        """
        with write_atomically(self.path(project_id, number), mode=_MODE) as file:
            file.write(data)

    def activation(self, project_id: int) -> Activation:
        """Which version serves a project, as the folder says. The log names a damaged file."""
        path = self._of(project_id) / _ACTIVATION_NAME
        try:
            data = _read(path, _LARGEST_ACTIVATION)
            activation = Activation() if data is None else Activation.loads(data)
        except (OSError, ValueError) as error:
            self._complain(project_id, f"{path} cannot be used ({error})")
            return Activation()
        self._complaints.pop(project_id, None)
        return activation

    def set_activation(self, project_id: int, activation: Activation) -> None:
        """Note which version serves a project.

        Raises:
            OSError: the file cannot be written.
        """
        with write_atomically(self._of(project_id) / _ACTIVATION_NAME, mode=_MODE) as file:
            file.write(activation.dumps())

    @contextmanager
    def locked(self, project_id: int) -> Iterator[None]:
        """Keep other processes from changing the folder of a project.

        Raises:
            OSError: the folder cannot be written.
            VersionError: another process holds the folder for too long.
        """
        folder = self._of(project_id)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "lock", timeout=_LOCK_WAIT_S):
                yield
        except Timeout as error:
            raise VersionError(
                f"another process has been changing {folder} for {_LOCK_WAIT_S:.0f} s: try again"
            ) from error

    def _complain(self, project_id: int, complaint: str) -> None:
        if self._complaints.get(project_id) != complaint:
            self._complaints[project_id] = complaint
            logger.warning(
                "%s: the project is served without what it has learnt, until a version is"
                " activated again",
                complaint,
            )

    def _of(self, project_id: int) -> Path:
        return self._folder / str(project_id)


def _read(path: Path, largest: int) -> bytes | None:
    """The bytes of a file, or None where there is none."""
    try:
        handle = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"it has more than {largest} bytes")
    return data
