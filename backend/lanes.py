"""Two lanes for requests: short requests never wait behind clicks.

Label Studio waits one second for ``/health`` and three for ``/setup``, and shows a backend that is
slower as disconnected. Clicks may take longer, and many clicks at once wait for each other.
"""

from __future__ import annotations

from typing import Any

from waitress.task import ThreadedTaskDispatcher

_SHORT = frozenset({"", "health", "ready", "setup", "versions"})
_SHORT_THREADS = 4


class Lanes:
    """Gives each request to a thread of its lane. waitress calls such an object a dispatcher.

    Args:
        threads: the number of threads for all requests that are not short.
    """

    def __init__(self, threads: int) -> None:
        self._short = _dispatcher(_SHORT_THREADS)
        self._long = _dispatcher(threads)

    def add_task(self, channel: Any) -> None:
        """Let the first request of a channel wait for a thread."""
        channel.note_request()
        request = channel.requests[0]
        name = request.path.rpartition("/")[2]
        lane = self._short if request.error is not None or name in _SHORT else self._long
        lane.add_task(channel)


def _dispatcher(threads: int) -> ThreadedTaskDispatcher:
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    dispatcher.queue_logger.disabled = True  # it warns whenever a request waits for a thread
    return dispatcher
