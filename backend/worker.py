"""gunicorn's worker: waitress serves in it, so that a slow sender never holds a thread.

gunicorn starts, replaces and reloads the workers. In each worker, one thread of waitress reads all
connections. A request gets one of the app's threads only after its last byte has come.

A worker that stops answers all requests that have begun. At a reload the worker first goes on until
the new workers serve.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import create_server

from backend.channels import CONNECTIONS, CROWDED, STOPPING, Channel, Crowd, Request
from backend.handover import handover
from backend.lanes import Lanes
from backend.settings import Settings

logger = logging.getLogger(__name__)

_IDLE_S = 60  # then a connection without a request is closed
_READ_BYTES = 256 << 10
_MEMORY_BYTES = 1 << 20  # the rest of a longer body waits in a temporary file
_UNSENT_BYTES = 64 << 20  # a thread waits for a slow reader only when an answer is longer
_LINGER_S = 2.0  # a stopping worker waits this long for requests on open connections
_LAST_ANSWERS_S = 2.0  # of the graceful timeout: to refuse the requests that are not answered
_TURN_S = 1.0  # the longest wait for events
_CROWDED_TURN_S = 0.1  # the same while connections wait to be accepted


class WaitressWorker(Worker):  # type: ignore[misc]
    """Runs waitress in a process of gunicorn, with as many threads as gunicorn's ``threads``."""

    def init_process(self) -> None:
        """See :meth:`gunicorn.workers.base.Worker.init_process`."""
        self._is_stopping = False
        self._connections: dict[int, Any] = {}  # of waitress, by file descriptor
        self._servers: list[Any] = []
        self._crowds: list[Crowd] = []
        super().init_process()

    def run(self) -> None:
        """Serve until gunicorn says stop, then finish the requests that have begun."""
        lanes = Lanes(self.cfg.threads)
        for listener in self.sockets:
            self._servers.append(self._listen(listener.sock, lanes))
        self._crowds = [Crowd(server) for server in self._servers]
        while self.ppid == os.getppid() and (self.alive or handover().is_awaited(self.age)):
            self._turn()
        self._stop()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """See :meth:`gunicorn.workers.base.Worker.handle_exit`."""
        super().handle_exit(sig, frame)
        for server in self._servers:
            server.pull_trigger()  # do not wait for the next event

    def _listen(self, sock: Any, lanes: Lanes) -> Any:
        worker = self
        access = Settings.of_process().access

        class WorkerChannel(Channel):
            def parser_class(self, adjustments: Adjustments) -> Request:
                refusal = CROWDED if self.is_surplus else None
                return Request(adjustments, access, is_last=worker._is_stopping, refusal=refusal)

        server = create_server(
            self.wsgi,
            map=self._connections,
            _dispatcher=lanes,
            sockets=[sock],
            ident=None,
            asyncore_use_poll=True,
            connection_limit=CONNECTIONS,
            channel_timeout=_IDLE_S,
            cleanup_interval=5,
            recv_bytes=_READ_BYTES,
            inbuf_overflow=_MEMORY_BYTES,
            outbuf_high_watermark=_UNSENT_BYTES,
            max_request_body_size=1 << 40,  # Request has the limits
        )
        server.channel_class = WorkerChannel
        return server

    def _turn(self) -> None:
        """Wait for events for a second at most, and handle them."""
        self.notify()
        is_crowded = any(crowd.exists for crowd in self._crowds)
        timeout = _CROWDED_TURN_S if is_crowded else _TURN_S
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._connections, count=1)
        for crowd in self._crowds:
            crowd.refuse()
        for channel in self._channels():
            channel.check()

    def _stop(self) -> None:
        begun = time.monotonic()
        self._is_stopping = True
        self._stop_listening()
        last = begun + self.cfg.graceful_timeout - _LAST_ANSWERS_S
        while self._has_work(time.monotonic() - begun) and time.monotonic() < last:
            self._turn()
        given_up = sum(channel.refuse(STOPPING) for channel in self._channels())
        if given_up:
            logger.warning(
                "requests that were not answered before the worker had to end: %d", given_up
            )
        # Python waits for the end of an encode, which nobody waits for now.
        end = threading.Timer(_LAST_ANSWERS_S / 2, os._exit, [0])
        end.daemon = True
        end.start()

    def _stop_listening(self) -> None:
        """Close the listening sockets. Connections that have come already are kept.

        At a reload the new workers take these connections: gunicorn's master has the sockets too.
        """
        for server, crowd in zip(self._servers, self._crowds, strict=True):
            if handover().is_stopping:
                crowd.accept()
            wasyncore.dispatcher.close(server)

    def _has_work(self, stopping_s: float) -> bool:
        """Whether a connection is still open. Those without a request are closed after a while.

        They must not stay open until the process has ended: a request that comes meanwhile would
        get no answer.
        """
        if stopping_s > _LINGER_S:
            for channel in self._channels():
                channel.close_if_idle()
        return any(self._channels())

    def _channels(self) -> Iterator[Any]:
        for server in self._servers:
            yield from list(server.active_channels.values())
