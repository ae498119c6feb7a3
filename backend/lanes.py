"""Lanes for requests: short requests never wait behind clicks.

Label Studio waits one second for ``/health`` and three for ``/setup``, and shows a backend that is
slower as disconnected. Clicks may take longer, and many clicks at once wait for each other.
"""

from __future__ import annotations

from typing import Any

from waitress.task import ThreadedTaskDispatcher

_HEALTH = frozenset({"", "health", "ready"})
_HEALTH_THREADS = 2
# These may wait for the decoder of a project, more than a second.
_SETUP = frozenset({"setup", "versions"})
_SETUP_THREADS = 16


class Lanes:
    """Gives each request to a thread of its lane. waitress calls such an object a dispatcher.

    Args:
        threads: the number of threads for clicks and all other requests that are not short.
    """

    def __init__(self, threads: int) -> None:
        self._health = _dispatcher(_HEALTH_THREADS)
        self._setup = _dispatcher(_SETUP_THREADS)
        self._long = _dispatcher(threads)

    def add_task(self, channel: Any) -> None:
        """Let the first request of a channel wait for a thread."""
        channel.note_request()
        self._lane(channel.requests[0]).add_task(channel)

    def _lane(self, request: Any) -> ThreadedTaskDispatcher:
        name = request.path.rpartition("/")[2]
        if request.error is not None or name in _HEALTH:
            return self._health
        return self._setup if name in _SETUP else self._long


def _dispatcher(threads: int) -> ThreadedTaskDispatcher:
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    dispatcher.queue_logger.disabled = True  # it warns whenever a request waits for a thread
    return dispatcher
