"""The token that the operator has set: in a variable, or in a file that may come later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.label_studio.credentials import Credential

VARIABLE = "LABEL_STUDIO_API_KEY"
FILE_VARIABLE = "LABEL_STUDIO_API_KEY_FILE"

_LARGEST_TOKEN = 10_000  # characters
_NEW_TOKEN = "create a personal access token in Label Studio (Account & Settings) and"


@dataclass(frozen=True)
class ApiKey:
    """Where the operator's token is. Threads may share it.

    Attributes:
        token: the token itself, or None.
        file: a file with the token, or None. It is read at each request, so a file that is written
            or changed later needs no restart. It is used where ``token`` is None.
    """

    token: str | None = None
    file: Path | None = None

    def credential(self, known: Credential | None = None) -> Credential | None:
        """The credential of the token; None if there is no token.

        Args:
            known: the credential that was made before. It is returned if its token is still set.
        """
        source = VARIABLE if self.token else FILE_VARIABLE
        token = self.token or self._read()
        if token is None or (known is not None and known.token == token):
            return known if token else None
        return Credential(token, source)

    @property
    def remedy(self) -> str:
        """What to do about a token that is missing or refused."""
        if self.token or self.file is None:
            return f"{_NEW_TOKEN} set it as {VARIABLE}"
        return f"{_NEW_TOKEN} put it into {self.file} ({FILE_VARIABLE}){self._fault()}"

    @property
    def absence(self) -> str:
        """What to say where there is no token."""
        if self.file is None:
            return f"{VARIABLE} is not set"
        return f"{FILE_VARIABLE} gives no token"

    def _read(self) -> str | None:
        """The token in the file; None if there is no usable token."""
        try:
            text = self.file.read_text(encoding="ascii").strip() if self.file else ""
        except (OSError, UnicodeError):
            return None  # `remedy` names the fault
        return text if text.isprintable() and 0 < len(text) <= _LARGEST_TOKEN else None

    def _fault(self) -> str:
        """Why the file holds no token, as the end of a sentence; an empty text if it holds one."""
        if self._read() is not None or self.file is None:
            return ""
        try:
            self.file.read_bytes()
        except OSError as error:
            return f", which cannot be read now: {error.strerror}"
        return ", which holds no token now"
