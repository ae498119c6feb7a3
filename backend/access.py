"""Who may send what: the password, and how long the body of a request may be."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace

from werkzeug.datastructures import Authorization

_MIB = 1 << 20
# A task comes with all of its drafts and annotations.
_PREDICT_BYTES = 256 * _MIB
# A webhook comes with a whole annotation, drawn masks included.
WEBHOOK_BYTES = 16 * _MIB
_OTHER_BYTES = _MIB


@dataclass(frozen=True)
class Access:
    """Who may call the paths of a team, or the paths of the operator.

    Attributes:
        basic_auth: the (user, password) that callers must send. None: every caller is trusted.
        answers_label_studio: whether a Label Studio calls these paths, with its long bodies.
    """

    basic_auth: tuple[str, str] | None = None
    answers_label_studio: bool = True

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
        """The longest body that a caller may send to a path below the team, bytes."""
        if self.answers_label_studio and path == "/webhook":
            return WEBHOOK_BYTES
        if self.answers_label_studio and path == "/predict" and self.is_trusted(authorization):
            return _PREDICT_BYTES
        return _OTHER_BYTES


class AccessRules:
    """The rules for every path of the backend.

    Args:
        operator: the rules of the paths of no team. Without teams, these are all paths.
        teams: the rules of each team.
    """

    def __init__(self, operator: Access, teams: Mapping[str, Access] | None = None) -> None:
        self._teams = dict(teams or {})
        self._operator = replace(operator, answers_label_studio=not self._teams)

    def of(self, path: str) -> tuple[str, Access]:
        """The team of a path, "" for none, and its rules."""
        team, below, _ = path.lstrip("/").partition("/")
        return (team, self._teams[team]) if below and team in self._teams else ("", self._operator)

    def body_limit(self, path: str, authorization: str | None) -> int:
        """The longest body that a caller may send, bytes."""
        team, access = self.of(path)
        return access.body_limit("/" + path.lstrip("/")[len(team) :].lstrip("/"), authorization)


def _same(given: str | None, expected: str) -> bool:
    """Compare in constant time, so that the time tells nothing about the password."""
    return hmac.compare_digest((given or "").encode(), expected.encode())
