"""What Label Studio says of itself in /setup, kept where every worker finds it.

Label Studio calls one worker of several, and the others must know too: hence a file, which only
its owner may read, since the token is in it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from backend import private_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Announcement:
    """Where Label Studio says it is, and the token that it hands out. Either may be missing."""

    hostname: str | None = None
    access_token: str | None = None


class AnnouncementFile:
    """The last announcement. Workers and restarts share it; threads may.

    Args:
        path: the file; its folder is made when it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten: Announcement | None = None

    def read(self) -> Announcement:
        """The last announcement; an empty one where there was none."""
        if self._unwritten is not None:
            return self._unwritten
        try:
            fields = json.loads(self._path.read_text())
            hostname, token = fields["hostname"], fields["access_token"]
        except (OSError, ValueError, KeyError, TypeError):
            return Announcement()
        if not isinstance(hostname, str | None) or not isinstance(token, str | None):
            return Announcement()
        return Announcement(hostname, token)

    def write(self, announcement: Announcement) -> None:
        """Keep an announcement; only in this process where the file cannot be written."""
        if announcement == self.read():
            return
        try:
            private_file.write(self._path, json.dumps(asdict(announcement)))
        except OSError as error:
            self._unwritten = announcement
            logger.warning(
                "what Label Studio says of itself is known to one worker only, since CACHE_DIR"
                " cannot be written (%s): set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
                error.strerror,
            )
        else:
            self._unwritten = None
