"""Fetches an image from a web server, within limits of time and size."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

MAX_BYTES = 256 * 1024**2
TOTAL_TIMEOUT_S = 60.0
_STEP_TIMEOUT_S = 10.0  # to connect, and to wait for the next bytes
_MAX_REDIRECTS = 5


def is_url(text: str) -> bool:
    """Whether a source is a URL and no path. Windows' drive letters are no schemes."""
    return "://" in text


def fetch(url: str, *, max_bytes: int = MAX_BYTES, timeout_s: float = TOTAL_TIMEOUT_S) -> bytes:
    """Fetch a file over http or https.

    Args:
        url: where the file is.
        max_bytes: a longer answer is refused.
        timeout_s: until the last byte is there, seconds. A connection that is being made then may
            take 10 seconds more.

    Raises:
        ValueError: the URL is of another scheme, the file is too long, or it takes too long.
        OSError: the server does not answer, or answers with an error.
    """
    import httpx

    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{url} cannot be fetched: a URL must begin with http:// or https://")
    content = bytearray()
    deadline = _Deadline(timeout_s)
    try:
        with (
            deadline,
            httpx.Client(
                timeout=min(_STEP_TIMEOUT_S, timeout_s),
                follow_redirects=True,
                max_redirects=_MAX_REDIRECTS,
                headers={"Accept-Encoding": "identity"},
            ) as client,
            client.stream("GET", url, extensions={"trace": deadline.trace}) as response,
        ):
            response.raise_for_status()
            # Raw: an answer that is compressed all the same must not grow beyond the limit.
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > max_bytes:
                    raise ValueError(f"{url} is longer than {max_bytes / 1e6:.0f} MB")
    except httpx.HTTPStatusError as error:
        raise OSError(f"{url} was answered with status {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if deadline.is_over:
            raise ValueError(f"{url} took longer than {timeout_s:.0f} seconds") from error
        raise OSError(f"{url} cannot be fetched: {error or type(error).__name__}") from error
    if deadline.is_over:  # an answer without a length ends where the connection ends
        raise ValueError(f"{url} took longer than {timeout_s:.0f} seconds")
    return bytes(content)


class _Deadline:
    """Ends the connection of a request after a time, whatever the request waits for.

    The timeouts of httpx begin again with each byte.
    """

    def __init__(self, timeout_s: float) -> None:
        self.is_over = False
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True
        self._socket: socket.socket | None = None

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the socket of a new connection. httpcore calls this at each step of a request."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.is_over:
                self._end()

    def _end(self) -> None:
        self.is_over = True
        if self._socket is not None:
            with suppress(OSError):  # the connection has ended already
                # Not the method of a TLS socket: that takes the encryption away from the reader.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
