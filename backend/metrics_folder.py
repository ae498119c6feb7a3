"""The folder in which gunicorn's workers share their counts.

prometheus_client maps files of this folder into memory. Without space on the disk, a write to such
a file ends the process with SIGBUS. So the space is taken before prometheus_client is imported.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct
import tempfile
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it
# Of each kind of the metrics in backend/metrics.py. A label and a bucket take up to 200 bytes.
_FILE_BYTES = {"counter": 1 << 17, "histogram": 1 << 18, "gauge_livesum": 1 << 16}
_USED = struct.Struct("i")  # the first bytes of a file say how many bytes are used


class MetricsFolder:
    """The folder of one gunicorn. A reload of gunicorn uses the same folder again.

    Args:
        environ: the environment of this process and of its workers.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        prefix = f"mobilesam-metrics-{os.getpid()}-"
        known = environ.pop(_VARIABLE, None)
        self.path: Path | None = None
        if known is not None and Path(known).name.startswith(prefix):
            self.path = Path(known)
        else:
            try:
                self.path = Path(tempfile.mkdtemp(prefix=prefix))
            except OSError as error:
                _warn(tempfile.gettempdir(), error)
        if self.path is not None:
            environ[_VARIABLE] = str(self.path)

    def reserve(self, pid: int) -> None:
        """Take the space for the files of a worker. Called in the worker.

        Without the space, the worker keeps its counts to itself, and the log says so.
        """
        if self.path is None:
            return
        files = {self.path / f"{kind}_{pid}.db": size for kind, size in _FILE_BYTES.items()}
        try:
            for path, size in files.items():
                _reserve(path, size)
        except OSError as error:
            for path in files:
                path.unlink(missing_ok=True)
            del self._environ[_VARIABLE]
            _warn(str(self.path.parent), error)

    def forget(self, pid: int) -> None:
        """Remove the gauges of a worker that has ended. Its counters stay in the sums.

        Its files give back the space that is not used.
        """
        if self.path is not None:
            (self.path / f"gauge_livesum_{pid}.db").unlink(missing_ok=True)
            for path in self.path.glob(f"*_{pid}.db"):
                _shrink(path)

    def remove(self) -> None:
        """Remove the folder."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)


def outside(environ: Mapping[str, str] = os.environ) -> dict[str, str]:  # noqa: TID251
    """The environment for a process that is no worker of gunicorn and keeps its counts to itself.

    Args:
        environ: the environment of this process.
    """
    return {name: value for name, value in environ.items() if name != _VARIABLE}


def _reserve(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.write(bytes(size))  # zeros: an empty file of prometheus_client
        file.flush()
        os.fsync(file.fileno())


def _shrink(path: Path) -> None:
    with suppress(OSError, struct.error), open(path, "r+b") as file:
        (used,) = _USED.unpack(file.read(_USED.size))
        file.truncate(max(used, _USED.size))


def _warn(folder: str, error: OSError) -> None:
    logger.warning(
        "%s has no space for the counts that workers share (%s). This worker serves, but its counts"
        " are missing in /metrics of the others. Make space and restart the backend, or set"
        " TMPDIR.",
        folder,
        error.strerror,
    )
