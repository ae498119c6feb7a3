"""The HTTP client for every request that leaves the backend.

The client limits how long a request may take and how large a body may be. ``sockets.py`` makes the
connections and checks their addresses.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx
import orjson

from backend import __version__
from backend.http import certificates
from backend.http.addresses import AllowedHosts
from backend.http.errors import HttpClientError, RefusedHostError
from backend.http.sockets import CheckedNetwork, Resolve, look_up

USER_AGENT = f"mobile-sam-backend/{__version__}"
_TEMPORARY = (429, 502, 503, 504)
_WITHOUT_A_BODY = (204, 205)
# Browsers pass over any other Content-Encoding, such as "aws-chunked" and "utf-8" of storages.
_COMPRESSIONS = frozenset(("gzip", "x-gzip", "deflate", "br", "zstd", "dcb", "dcz"))
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_KEEPALIVE = 20
_KEEPALIVE_S = 5.0
# Failures that a second attempt may not meet again.
_RETRYABLE = (httpcore.ConnectError, httpcore.ReadError, httpcore.RemoteProtocolError)
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


@dataclass(frozen=True)
class Limits:
    """How long a request may take and how large a body may be.

    Attributes:
        connect_s: for each connection, seconds.
        read_s: for each wait for the next bytes, seconds.
        total_s: for the whole request with redirects and retries, seconds. Label Studio waits
            100 s.
        max_bytes: the largest body.
        attempts: how often a retryable failure is tried.
        backoff_s: the wait before the second attempt, seconds. Each further wait is twice as long.
        retry_after_s: the longest wait that a host may ask for, seconds.
    """

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 60.0
    max_bytes: int = 256 << 20
    attempts: int = 3
    backoff_s: float = 0.25
    retry_after_s: float = 10.0


@dataclass(frozen=True)
class Response:
    """The answer to a request.

    Attributes:
        url: the URL that answered.
        status: the HTTP status.
        headers: the headers.
        content: the body of a success. The body of any other answer is not read.
        location: the target of a redirect, or None.
        retry_after_s: how long the host asks the client to wait, seconds, or None.
    """

    url: httpx.URL
    status: int
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    content: bytes = b""
    location: httpx.URL | None = None
    retry_after_s: float | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the answer is a success with a body.

        A browser shows the image of every such answer: of 203 from a proxy, of 206 with a range
        that nobody has asked for. Chromium was asked.
        """
        return httpx.codes.is_success(self.status) and self.status not in _WITHOUT_A_BODY

    @property
    def status_line(self) -> str:
        """The status with its name."""
        return f"{self.status} {httpx.codes.get_reason_phrase(self.status)}".rstrip()

    def json(self) -> Any:
        """The body, parsed as JSON; None if the body is not JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


class HttpClient:
    """An HTTP client with a pool of connections. Threads may share a client.

    The client uses no proxy, keeps no cookies and follows no redirects. A proxy would look up the
    names and make the connections itself, so the check of addresses would be worthless. HTTP_PROXY
    and similar variables are therefore not read.

    Args:
        allowed_hosts: hosts that are allowed beside the public internet.
        limits: the limits of every request.
        resolve: finds the addresses of a host.
        tls: whose certificates are trusted; None for the public and the system's authorities.
    """

    def __init__(
        self,
        allowed_hosts: AllowedHosts | None = None,
        limits: Limits | None = None,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._network = CheckedNetwork(allowed_hosts or AllowedHosts(), resolve or look_up)
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls or certificates.trust(),
            max_connections=None,
            max_keepalive_connections=_MAX_KEEPALIVE,
            keepalive_expiry=_KEEPALIVE_S,
            network_backend=self._network,
        )
        weakref.finalize(self, self._pool.close)  # no connection outlives the client

    def deadline(self) -> float:
        """When a request that begins now must have ended, by the monotonic clock."""
        return time.monotonic() + self.limits.total_s

    def request(
        self,
        method: str,
        url: httpx.URL,
        *,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        is_trusted: bool = False,
        attempts: int | None = None,
        reads_body: bool = True,
    ) -> Response:
        """Make a request. A retryable failure is tried again.

        Args:
            method: the HTTP method.
            url: the URL.
            deadline: when the request must have ended, by the monotonic clock.
            headers: headers to send beside the client's own headers.
            json: the body, as a value that JSON can express; None for no such body.
            content: the body as bytes; None for no such body. ``headers`` name its type.
            is_trusted: whether the host may have any address, because the operator has named it.
            attempts: how often to try; None for ``limits.attempts``.
            reads_body: whether the body of a success is read. Without it the connection is closed
                after the headers.

        Raises:
            HttpClientError: no answer within the limits.
        """
        attempts = attempts or self.limits.attempts
        for attempt in range(1, attempts + 1):
            wait = self.limits.backoff_s * 2 ** (attempt - 1)
            try:
                with self._network.call(deadline, is_trusted):
                    response = self._request(method, url, headers or {}, json, content, reads_body)
            except _RETRYABLE as error:
                is_last = attempt == attempts or time.monotonic() + wait > deadline
                if is_last or certificates.refusal(error) is not None:
                    raise HttpClientError(
                        f"{redacted(url)} cannot be fetched from here: {_reason(error)}"
                    ) from error
            except RefusedHostError as error:
                raise HttpClientError(str(error)) from error
            except httpcore.TimeoutException as error:
                raise HttpClientError(self._too_slow(url, deadline)) from error
            except _FAILURES as error:
                raise HttpClientError(
                    f"{redacted(url)} cannot be fetched from here: {_reason(error)}"
                ) from error
            else:
                wait = max(wait, response.retry_after_s or 0.0)
                is_retryable = response.status in _TEMPORARY and wait <= self.limits.retry_after_s
                if not is_retryable or attempt == attempts or time.monotonic() + wait > deadline:
                    return response
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _request(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        json: Any,
        content: bytes | None,
        reads_body: bool,
    ) -> Response:
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if url.userinfo:
            sent.setdefault("Authorization", f"Basic {base64.b64encode(url.userinfo).decode()}")
        if json is not None:
            sent["Content-Type"] = "application/json"
            content = _json(json)
        timeouts = {"connect": self.limits.connect_s, "read": self.limits.read_s}
        with self._pool.stream(
            method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=list(sent.items()),
            content=content,
            extensions={"timeout": {**timeouts, "write": self.limits.read_s}},
        ) as raw:
            received = httpx.Headers(raw.headers)
            response = Response(
                url,
                raw.status,
                received,
                location=_location(url, raw.status, received),
                retry_after_s=_retry_after_s(received.get("Retry-After")),
            )
            if not response.is_ok or not reads_body:
                return response
            return replace(response, content=self._body(url, raw, received))

    def _body(self, url: httpx.URL, raw: httpcore.Response, headers: httpx.Headers) -> bytes:
        encoding = headers.get("Content-Encoding", "").lower()
        if _COMPRESSIONS & set(re.split(r"[\s,]+", encoding)):  # kilobytes can become gigabytes
            raise HttpClientError(
                f"{redacted(url)} sends a compressed file ({encoding[:40]}), but the backend asks"
                " for uncompressed files: switch the compression of images off on that host"
            )
        announced = headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > self.limits.max_bytes:
            raise HttpClientError(self._too_large(url))
        content = bytearray()
        for chunk in raw.iter_stream():
            content += chunk
            if len(content) > self.limits.max_bytes:
                raise HttpClientError(self._too_large(url))
        return bytes(content)

    def _too_large(self, url: httpx.URL) -> str:
        limit = self.limits.max_bytes
        size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
        return f"{redacted(url)} is larger than {size}: use a smaller image"

    def _too_slow(self, url: httpx.URL, deadline: float) -> str:
        if time.monotonic() >= deadline:
            return (
                f"{redacted(url)} did not arrive within {self.limits.total_s:g} s: is its host"
                " overloaded or far away?"
            )
        return (
            f"{redacted(url)} cannot be fetched from here: its host does not answer"
            f" ({self.limits.connect_s:g} s to connect, {self.limits.read_s:g} s between bytes)"
        )


def parse_url(url: str) -> httpx.URL:
    """Parse a URL of http or https.

    Raises:
        HttpClientError: the text is no such URL.
    """
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port or 80  # decoding may fail here
    except (httpx.InvalidURL, UnicodeError) as error:
        raise HttpClientError(f"the image URL is not a valid URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not host or not 0 < port < 1 << 16:
        raise HttpClientError(
            f"{redacted(parsed)} cannot be fetched: images come from http(s)://, s3://, gs://,"
            " azure-blob:// and data: URLs and from Label Studio's own files"
        )
    return parsed


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """The scheme, host and port of a URL. The standard port of a scheme is None."""
    return url.scheme, url.host, url.port  # httpx removes the standard port


def redacted(url: httpx.URL) -> str:
    """A URL for messages: user, password, query and fragment may be secrets and are left out."""
    bare = url.copy_with(username=None, password=None, query=None, fragment=None)
    return str(bare)[:200]


def _json(value: Any) -> bytes:
    """A value as JSON."""
    try:
        return orjson.dumps(value)
    except TypeError:  # whole numbers above 64 bits, and halves of surrogate pairs
        return json.dumps(value).encode()


def _location(url: httpx.URL, status: int, headers: httpx.Headers) -> httpx.URL | None:
    """The target of a redirect; None if the response is no redirect."""
    location = headers.get("Location")
    if status not in _REDIRECTS or location is None:
        return None
    try:
        return url.join(location)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise HttpClientError(f"{redacted(url)} redirects to an invalid URL: {error}") from error


def _retry_after_s(value: str | None) -> float | None:
    """Seconds, from a Retry-After header of seconds or of a date; None if the header is neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    return certificates.refusal(error) or str(error) or type(error).__name__
