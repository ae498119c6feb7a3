"""The connections of a worker: what a request may be, and what callers get over the limits.

waitress calls a connection a channel. One thread reads and writes all channels of a worker.
"""

from __future__ import annotations

import json
import logging
import select
import time
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error

from backend.access import AccessRules

logger = logging.getLogger(__name__)

CONNECTIONS = 500  # of each worker; common limits of open files are 1,024
_SURPLUS = 100  # connections over the limit, whose requests are refused
_REQUEST_S = 60.0  # the longest time from the first byte of a request to the last
_SURPLUS_S = 3.0  # the same for a connection over the limit, from its beginning
_QUEUE_S = 30.0  # the longest wait for a thread; Label Studio waits 100 s for an answer
_OTHERS_S = 0.25  # another worker may take a connection meanwhile; Label Studio waits 1 s
_RETRY_AFTER_S = 2


class Refusal(Error):  # type: ignore[misc]
    """The answer 503, with its sentence in the status line: Label Studio shows only this part."""

    code = 503

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """See :meth:`waitress.utilities.Error.to_response`."""
        headers = [("Content-Type", "application/json"), ("Retry-After", str(_RETRY_AFTER_S))]
        return f"{self.code} {self.body}", headers, json.dumps({"error": self.body}).encode()

    def to_bytes(self) -> bytes:
        """The whole answer. The connection closes after it."""
        status, headers, body = self.to_response()
        headers += [("Connection", "close"), ("Content-Length", str(len(body)))]
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + body


CROWDED = Refusal("the backend has too many open connections: try again in a few seconds")
OVERLOADED = Refusal("the backend is overloaded: try again in a few seconds")
STOPPING = Refusal("the backend is being restarted: click again")


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request as its bytes arrive. A body over the limit is not read: the app refuses it.

    Args:
        adjustments: the settings of waitress.
        access: says how long the body may be.
        is_last: whether the connection closes after the answer.
        refusal: the answer, if the app is not to see the request.
    """

    completed: bool
    error: Error | None

    def __init__(
        self,
        adjustments: Adjustments,
        access: AccessRules,
        *,
        is_last: bool,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(adjustments)
        self.begun = time.monotonic()
        self._access = access
        self._is_last = is_last
        self._refusal = refusal

    def parse_header(self, header_plus: bytes) -> None:
        """See :meth:`waitress.parser.HTTPRequestParser.parse_header`."""
        super().parse_header(header_plus)
        if self._is_last:
            self._close_after_answer()

    def received(self, data: bytes) -> int:
        """See :meth:`waitress.parser.HTTPRequestParser.received`."""
        consumed: int = super().received(data)
        if self.error is not None or not self.headers_finished or self.empty:
            return consumed
        if self._refusal is not None and self.completed:
            self.error = self._refusal
            return consumed
        length = max(self.content_length, self.body_bytes_received)
        if length <= self._access.body_limit(self.path, self.headers.get("AUTHORIZATION")):
            return consumed
        self.headers["CONTENT_LENGTH"] = str(length)  # too long: the app does not read the body
        self.expect_continue = False
        self.completed = True
        self._close_after_answer()
        return len(data)

    def _close_after_answer(self) -> None:
        self.connection_close = True
        self.headers["CONNECTION"] = "close"


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection and its requests.

    Attributes:
        is_surplus: whether the worker had its connections already. The request is refused.
    """

    def __init__(self, server: Any, *arguments: Any, **options: Any) -> None:
        self.is_surplus = len(server.active_channels) >= CONNECTIONS
        self._begun = time.monotonic()
        self._queued: float | None = None  # since when a request waits for a thread
        self._is_answered = False
        super().__init__(server, *arguments, **options)

    def note_request(self) -> None:
        """Note that a request is complete and waits for a thread."""
        self._queued = time.monotonic()
        self._is_answered = False

    def service(self) -> None:
        """See :meth:`waitress.channel.HTTPChannel.service`."""
        self._queued = None
        super().service()

    def write_soon(self, data: Any) -> int:
        """See :meth:`waitress.channel.HTTPChannel.write_soon`."""
        with self.outbuf_lock:
            self._is_answered = True
        written: int = super().write_soon(data)
        return written

    def check(self) -> None:
        """Refuse a request that waits for too long, and drop a request whose end is overdue."""
        now = time.monotonic()
        if self._queued is not None and now - self._queued > _QUEUE_S:
            self.refuse(OVERLOADED)
        is_slow = self.request is not None and now - self.request.begun > _REQUEST_S
        if is_slow or (self.is_surplus and not self.requests and now - self._begun > _SURPLUS_S):
            self.will_close = True

    def close_if_idle(self) -> None:
        """Close the connection, unless a request has begun to come."""
        if self.requests or self.request is not None or self.total_outbufs_len:
            return
        if not _can_read(self.socket):
            self.handle_close()

    def refuse(self, refusal: Refusal) -> bool:
        """Answer a request instead of its thread, if the thread has not begun to answer.

        Returns:
            Whether there was such a request.
        """
        with self.outbuf_lock:
            if not self.requests or self._is_answered:
                return False
            self.send(refusal.to_bytes())
            self.handle_close()  # a thread that answers later gets ClientDisconnected
            return True


def _can_read(sock: Any) -> bool:
    """Whether a socket has a byte or a connection that nobody has taken yet."""
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return bool(waiting.poll(0))


class Crowd:
    """The connections that wait to be accepted while a worker has all of its connections.

    Another worker may have room, so they wait a moment. Then they are accepted and refused.

    Args:
        server: the server of waitress.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._since: float | None = None
        self._is_known = False

    @property
    def exists(self) -> bool:
        """Whether the worker has all of its connections."""
        server = self._server
        is_full: bool = server.accepting and server.in_connection_overflow
        return is_full

    def refuse(self) -> None:
        """Accept those who have waited for a moment. Their requests are refused."""
        if not self.exists or not _can_read(self._server.socket):
            self._since = None
            self._is_known = self._is_known and self.exists
            return
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since < _OTHERS_S:
            return
        if not self._is_known:
            self._is_known = True
            logger.warning(
                "%d connections are open, so further requests get the answer 503: raise WORKERS,"
                " or put a proxy in front that limits the connections of each address",
                CONNECTIONS,
            )
        self.accept()

    def accept(self) -> None:
        """Accept those who wait, also over the limit."""
        room = CONNECTIONS + _SURPLUS - len(self._server.active_channels)
        while room > 0 and _can_read(self._server.socket):
            self._server.handle_accept()
            room -= 1
