"""Label Studio's tokens: the kinds, and the header that each kind is sent in.

A personal access token is a JWT. Label Studio exchanges a personal access token for an access
token that is valid for five minutes. An access token is sent as ``Bearer``, a legacy token as
``Token``. Label Studio 1.23 refuses every other combination.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import jwt

_RENEW_BEFORE_S = 30.0  # the last seconds of an access token are not used

Exchange = Callable[[str], str]


class Credential:
    """A token. Threads may share a credential.

    Args:
        token: the token as the operator or Label Studio gave it.
        source: who gave the token, for messages.
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
        """The kind and the source of the token; never the token itself."""
        if self._is_personal:
            return f"the personal access token in {self.source}"
        if self._is_access:
            return f"the short-lived access token in {self.source}"
        return f"the legacy token in {self.source}"

    @property
    def doubt(self) -> str:
        """Why Label Studio may refuse the token beside a mistake, as the end of a sentence."""
        if self._is_personal:
            return "; or Label Studio's SECRET_KEY has changed since the token was made"
        if self._is_access:
            return ""
        return "; Label Studio refuses legacy tokens unless the organization allows them"

    def header(self, exchange: Exchange) -> str:
        """The Authorization header to send.

        Args:
            exchange: takes a personal access token and returns an access token. Its errors are
                passed on.
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

    The signature is not verified. Only the kind and the end of the token are read here; Label
    Studio verifies the token.
    """
    try:
        claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return claims


def _lifetime_s(access_token: str) -> float:
    """How long an access token is valid, seconds.

    Both times come from the token where it has both, because two machines' clocks may differ.
    """
    claims = jwt_claims(access_token)
    ends, begins = claims.get("exp"), claims.get("iat", time.time())
    if isinstance(ends, int | float) and isinstance(begins, int | float):
        return float(ends) - float(begins)
    return 0.0
