"""Who may send what: the password, and how long the body of a request may be."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from werkzeug.datastructures import Authorization

_MIB = 1 << 20
# A task comes with all of its drafts and annotations.
_PREDICT_BYTES = 256 * _MIB
# A webhook comes with a whole annotation, drawn masks included.
WEBHOOK_BYTES = 16 * _MIB
_OTHER_BYTES = _MIB


@dataclass(frozen=True)
class Access:
    """The rules of the HTTP server about passwords and long bodies.

    Attributes:
        basic_auth: the (user, password) that callers must send. None: every caller is trusted.
    """

    basic_auth: tuple[str, str] | None = None

    def is_trusted(self, authorization: str | None) -> bool:
        """Whether a caller may do everything.

        Args:
            authorization: the header ``Authorization`` of the request, or None.
        """
        if self.basic_auth is None:
            return True
        given = Authorization.from_header(authorization)
        if given is None or given.type != "basic":
            return False
        user, password = self.basic_auth
        return _same(given.username, user) & _same(given.password, password)

    def body_limit(self, path: str, authorization: str | None) -> int:
        """The longest body that a caller may send to a path, bytes."""
        if path == "/webhook":
            return WEBHOOK_BYTES
        if path == "/predict" and self.is_trusted(authorization):
            return _PREDICT_BYTES
        return _OTHER_BYTES


def _same(given: str | None, expected: str) -> bool:
    """Compare in constant time, so that the time tells nothing about the password."""
    return hmac.compare_digest((given or "").encode(), expected.encode())
