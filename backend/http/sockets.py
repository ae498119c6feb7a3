"""The sockets under the HTTP client: they connect to checked addresses only, and in time.

Each connection checks the address that it connects to. So neither a redirect nor a host name that
changes its address leads to an address that is not allowed.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpcore

from backend.http.addresses import AllowedHosts
from backend.http.errors import RefusedHostError

Resolve = Callable[[str, int], list[str]]


@dataclass
class _Call(threading.local):
    """The rules for the request that this thread makes now."""

    deadline: float = math.inf
    is_trusted: bool = False


@dataclass
class CheckedNetwork(httpcore.NetworkBackend):
    """Looks a host up once, checks every address, and connects to a checked address.

    TLS and the Host header still use the name of the host.
    """

    allowed_hosts: AllowedHosts
    resolve: Resolve
    _call: _Call = field(default_factory=_Call)
    _sockets: httpcore.SyncBackend = field(default_factory=httpcore.SyncBackend)

    @contextmanager
    def call(self, deadline: float, is_trusted: bool) -> Iterator[None]:
        """Set the rules for the request that this thread makes inside the ``with`` block.

        Args:
            deadline: when the request must have ended, by the monotonic clock.
            is_trusted: whether any address is allowed.
        """
        self._call.deadline, self._call.is_trusted = deadline, is_trusted
        try:
            yield
        finally:
            self._call.deadline, self._call.is_trusted = math.inf, False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that answers."""
        try:
            found = self.resolve(host, port)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise httpcore.ConnectError(f"{host} cannot be looked up at the moment") from error
            raise RefusedHostError(f"there is no host {host}: is the name right?") from error
        except (OSError, UnicodeError) as error:
            raise RefusedHostError(f"{host} cannot be a host: is the name right?") from error
        addresses = list(dict.fromkeys(found))
        for address in addresses:
            self._check(host, address)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(
                    address, port, self.left(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self)
        raise failure

    def left(self, timeout: float | None) -> float:
        """The timeout of one step, seconds. No step may last longer than the whole request."""
        left = self._call.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the deadline has passed")
        return min(left, math.inf if timeout is None else timeout)

    def _check(self, host: str, address: str) -> None:
        if self._call.is_trusted:
            return
        if not self.allowed_hosts.allow(host, ipaddress.ip_address(address)):
            name = host if host == address else f"{host} ({address})"
            raise RefusedHostError(
                f"{name} is not on the public internet. Images come from such a host only if"
                f" ALLOWED_HOSTS names it: add {host} to ALLOWED_HOSTS if that is meant"
            )


class _TimedStream(httpcore.NetworkStream):
    """A connection on which no step lasts longer than the whole request."""

    def __init__(self, stream: httpcore.NetworkStream, network: CheckedNetwork) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._network.left(timeout))
        return _TimedStream(secured, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system finds them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
