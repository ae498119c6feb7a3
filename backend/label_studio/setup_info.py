"""What Label Studio says about itself in ``/setup``, kept in a file for all workers.

Label Studio calls only one of several workers, and the other workers must know too. The file holds
a token, so only its owner may read the file.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from model.files import write_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetupInfo:
    """What Label Studio says about itself. Each may be missing.

    Attributes:
        hostname: the address of Label Studio, from a ``/setup`` with the password.
        access_token: the token that Label Studio hands out.
        unproven_hostname: the address of Label Studio, from a ``/setup`` that anybody could send.
    """

    hostname: str | None = None
    access_token: str | None = None
    unproven_hostname: str | None = None


class SetupInfoFile:
    """The file with the last setup info. Workers, restarts and threads share the file.

    Args:
        path: the file. Its folder is made when the file is first written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten: SetupInfo | None = None

    def read(self) -> SetupInfo:
        """The last setup info; an empty setup info if there was none."""
        if self._unwritten is not None:
            return self._unwritten
        try:
            fields = json.loads(self._path.read_text())
            info = SetupInfo(**fields)
        except (OSError, ValueError, TypeError):
            return SetupInfo()
        texts = (info.hostname, info.access_token, info.unproven_hostname)
        return info if all(isinstance(text, str | None) for text in texts) else SetupInfo()

    def write(self, info: SetupInfo) -> None:
        """Keep a setup info. If the file cannot be written, only this process keeps it."""
        if info == self.read():
            return
        try:
            with write_atomically(self._path) as file:
                file.write(json.dumps(asdict(info)).encode())
        except OSError as error:
            self._unwritten = info
            logger.warning(
                "only one worker knows what Label Studio says about itself, because CACHE_DIR"
                " cannot be written (%s): set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
                error.strerror,
            )
        else:
            self._unwritten = None
