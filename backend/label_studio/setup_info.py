"""What Label Studio says of itself in /setup, kept where every worker finds it.

Label Studio calls one worker of several, and the others must know too: hence a file, which only
its owner may read, since the token is in it.
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
    """Where Label Studio says it is, and the token that it hands out. Either may be missing."""

    hostname: str | None = None
    access_token: str | None = None


class SetupInfoFile:
    """The last setup info. Workers, restarts and threads share it.

    Args:
        path: the file; its folder is made when it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten: SetupInfo | None = None

    def read(self) -> SetupInfo:
        """The last setup info; an empty one where there was none."""
        if self._unwritten is not None:
            return self._unwritten
        try:
            fields = json.loads(self._path.read_text())
            hostname, token = fields["hostname"], fields["access_token"]
        except (OSError, ValueError, KeyError, TypeError):
            return SetupInfo()
        if not isinstance(hostname, str | None) or not isinstance(token, str | None):
            return SetupInfo()
        return SetupInfo(hostname, token)

    def write(self, info: SetupInfo) -> None:
        """Keep a setup info; only in this process where the file cannot be written."""
        if info == self.read():
            return
        try:
            with write_atomically(self._path) as file:
                file.write(json.dumps(asdict(info)).encode())
        except OSError as error:
            self._unwritten = info
            logger.warning(
                "what Label Studio says of itself is known to one worker only, since CACHE_DIR"
                " cannot be written (%s): set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
                error.strerror,
            )
        else:
            self._unwritten = None
