"""Label Studio's tokens: which kind one is, and how it is sent.

A personal access token is a JWT that is only good for getting access tokens of five minutes, which
are sent as ``Bearer``; a legacy token is sent as ``Token``. As measured on Label Studio 1.23;
neither works in the place of the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import jwt

_RENEW_BEFORE_S = 30.0  # an access token is not used in its last seconds

Exchange = Callable[[str], str]


class Credential:
    """One token. Threads may share it.

    Args:
        token: as it was given.
        source: where it was given, for sentences.
    """

    def __init__(self, token: str, source: str) -> None:
        self.token = token
        self.source = source
        kind = jwt_claims(token).get("token_type")
        self._is_personal = kind == "refresh"
        self._is_access = kind == "access"
        self._lock = threading.Lock()
        self._access_token = ""
        self._renew_at = 0.0

    def __str__(self) -> str:
        """What it is and where it came from; never the token."""
        if self._is_personal:
            return f"the personal access token in {self.source}"
        if self._is_access:
            return f"the short-lived access token in {self.source}"
        return f"the legacy token in {self.source}"

    @property
    def is_legacy(self) -> bool:
        """Whether it is of the kind that Label Studio has switched off by default."""
        return not (self._is_personal or self._is_access)

    def header(self, exchange: Exchange) -> str:
        """The Authorization header to send.

        Args:
            exchange: gets an access token for a personal one; what it raises is raised.
        """
        if self._is_access:
            return f"Bearer {self.token}"
        if not self._is_personal:
            return f"Token {self.token}"
        with self._lock:
            if time.monotonic() < self._renew_at:
                return f"Bearer {self._access_token}"
        access_token = exchange(self.token)
        with self._lock:
            self._access_token = access_token
            self._renew_at = time.monotonic() + _lifetime_s(access_token) - _RENEW_BEFORE_S
        return f"Bearer {access_token}"


def jwt_claims(token: str) -> dict[str, object]:
    """The claims of a JWT; {} for any other token.

    The signature is not verified: only the kind of the token and its end are asked, and Label
    Studio decides on the rest.
    """
    try:
        claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return claims


def _lifetime_s(access_token: str) -> float:
    """How long it is good for; from its own two times where it has them, since clocks differ."""
    claims = jwt_claims(access_token)
    ends, begins = claims.get("exp"), claims.get("iat", time.time())
    if isinstance(ends, int | float) and isinstance(begins, int | float):
        return float(ends) - float(begins)
    return 0.0
