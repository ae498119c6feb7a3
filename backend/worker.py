"""gunicorn's worker: waitress serves in it, so that a slow sender never holds a thread.

gunicorn starts, replaces and reloads the workers. In each worker, one thread of waitress reads all
connections. A request gets one of the app's threads only after its last byte has come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher

from backend.access import Access
from backend.settings import Settings

_REQUEST_S = 60.0  # the longest time from the first byte of a request to the last
_IDLE_S = 60  # then a connection without a request is closed
_CONNECTIONS = 500  # of each worker; common limits of open files are 1,024
_READ_BYTES = 256 << 10
_MEMORY_BYTES = 1 << 20  # the rest of a longer body waits in a temporary file
_UNSENT_BYTES = 64 << 20  # a thread waits for a slow reader only when an answer is longer
_LINGER_S = 2.0  # a stopping worker waits this long for requests on open connections


class WaitressWorker(Worker):  # type: ignore[misc]
    """Runs waitress in a process of gunicorn, with as many threads as gunicorn's ``threads``."""

    def init_process(self) -> None:
        """See :meth:`gunicorn.workers.base.Worker.init_process`."""
        self._stopping_since: float | None = None
        self._connections: dict[int, Any] = {}  # of waitress, by file descriptor
        self._servers: list[Any] = []
        super().init_process()

    def run(self) -> None:
        """Serve until gunicorn says stop, then finish the requests that have begun."""
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(self.cfg.threads)
        dispatcher.queue_logger.disabled = True  # it warns whenever a request waits for a thread
        for listener in self.sockets:
            self._servers.append(self._listen(listener.sock, dispatcher))
        while self.alive and self.ppid == os.getppid():
            self._turn()
        self._stop()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """See :meth:`gunicorn.workers.base.Worker.handle_exit`."""
        super().handle_exit(sig, frame)
        for server in self._servers:
            server.pull_trigger()  # do not wait for the next event

    def _listen(self, sock: Any, dispatcher: ThreadedTaskDispatcher) -> Any:
        access = Access(Settings.from_env().basic_auth)

        class Channel(HTTPChannel):  # type: ignore[misc]
            @staticmethod
            def parser_class(adjustments: Adjustments) -> Request:
                return Request(adjustments, access, is_last=self._stopping_since is not None)

        server = create_server(
            self.wsgi,
            map=self._connections,
            _dispatcher=dispatcher,
            sockets=[sock],
            ident=None,
            asyncore_use_poll=True,
            connection_limit=_CONNECTIONS,
            channel_timeout=_IDLE_S,
            cleanup_interval=5,
            recv_bytes=_READ_BYTES,
            inbuf_overflow=_MEMORY_BYTES,
            outbuf_high_watermark=_UNSENT_BYTES,
            max_request_body_size=1 << 40,  # Request has the limits
        )
        server.channel_class = Channel
        return server

    def _turn(self) -> None:
        """Wait for events for a second at most, and handle them."""
        self.notify()
        wasyncore.loop(timeout=1, use_poll=True, map=self._connections, count=1)
        now = time.monotonic()
        for channel in self._channels():
            if channel.request is not None and now - channel.request.begun > _REQUEST_S:
                channel.will_close = True

    def _stop(self) -> None:
        self._stopping_since = time.monotonic()
        for server in self._servers:
            server.accepting = False
        while self._has_work(time.monotonic() - self._stopping_since):
            self._turn()

    def _has_work(self, stopping_s: float) -> bool:
        if stopping_s > self.cfg.graceful_timeout:
            return False
        if stopping_s <= _LINGER_S:
            return any(self._channels())
        return any(channel.requests or channel.total_outbufs_len for channel in self._channels())

    def _channels(self) -> Iterator[Any]:
        for server in self._servers:
            yield from list(server.active_channels.values())


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request as its bytes arrive. A body over the limit is not read: the app refuses it.

    Args:
        adjustments: the settings of waitress.
        access: says how long the body may be.
        is_last: whether the connection closes after the answer.
    """

    def __init__(self, adjustments: Adjustments, access: Access, *, is_last: bool) -> None:
        super().__init__(adjustments)
        self.begun = time.monotonic()
        self._access = access
        self._is_last = is_last

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
