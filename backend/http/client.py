"""Every HTTP request that leaves the backend: where it may go, how long it may take, how much it
may bring.

Connections are made by network.py, which checks where they lead.
"""

from __future__ import annotations

import base64
import json
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx
import orjson

from backend.http.addresses import AllowedHosts
from backend.http.errors import HttpClientError, RefusedHostError
from backend.http.sockets import CheckedNetwork, Resolve, look_up

_TEMPORARY = (429, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_KEEPALIVE = 20
_KEEPALIVE_S = 5.0
# What a second attempt may not meet again.
_RETRYABLE = (httpcore.ConnectError, httpcore.ReadError, httpcore.RemoteProtocolError)
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


@dataclass(frozen=True)
class Limits:
    """How long a request may take and how much it may bring.

    Attributes:
        connect_s, read_s: for each connection and each wait for the next bytes.
        total_s: for everything, redirects and retries included. Label Studio waits 100 s.
        max_bytes: of a body.
        attempts: how often to try what may pass.
        backoff_s: the wait before the second attempt; it doubles.
        retry_after_s: the longest wait that a host may ask for.
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
    """What came back.

    Attributes:
        status: the HTTP status.
        content: the body of a 200; of everything else nothing is read.
        location: where a redirect leads to.
    """

    url: httpx.URL
    status: int
    content: bytes = b""
    location: httpx.URL | None = None
    retry_after_s: float | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the body is what was asked for."""
        return self.status == httpx.codes.OK

    @property
    def status_line(self) -> str:
        """The status with its name."""
        return f"{self.status} {httpx.codes.get_reason_phrase(self.status)}".rstrip()

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


class HttpClient:
    """One pooled HTTP client. Threads may share it. No proxy, no cookies, no redirects followed.

    A proxy would look names up and connect in the place of this process, so the check of addresses
    would check nothing: HTTP_PROXY and its like are not read.

    Args:
        allowed_hosts: what may be asked beside the public internet.
        limits: of every request.
        resolve: finds the addresses of a host.
    """

    def __init__(
        self,
        allowed_hosts: AllowedHosts | None = None,
        limits: Limits | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._network = CheckedNetwork(allowed_hosts or AllowedHosts(), resolve or look_up)
        self._pool = httpcore.ConnectionPool(
            # SSL_CERT_FILE and SSL_CERT_DIR are heeded: they only add to whom is believed
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,
            max_keepalive_connections=_MAX_KEEPALIVE,
            keepalive_expiry=_KEEPALIVE_S,
            network_backend=self._network,
        )
        weakref.finalize(self, self._pool.close)  # no connection outlives the client

    def deadline(self) -> float:
        """When a task that begins now must have ended, by the monotonic clock."""
        return time.monotonic() + self.limits.total_s

    def request(
        self,
        method: str,
        url: httpx.URL,
        *,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        is_trusted: bool = False,
        attempts: int | None = None,
    ) -> Response:
        """Ask once, or a few times where the failure may pass.

        Args:
            is_trusted: whether the host may have any address: the operator has named it.
            attempts: in the place of ``limits.attempts``.

        Raises:
            HttpClientError: no answer within the limits.
        """
        attempts = attempts or self.limits.attempts
        for attempt in range(1, attempts + 1):
            wait = self.limits.backoff_s * 2 ** (attempt - 1)
            try:
                with self._network.call(deadline, is_trusted):
                    response = self._request(method, url, headers or {}, json)
            except _RETRYABLE as error:
                if attempt == attempts or time.monotonic() + wait > deadline:
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
        self, method: str, url: httpx.URL, headers: Mapping[str, str], json: Any
    ) -> Response:
        sent = {"User-Agent": "mobile-sam-backend", "Accept-Encoding": "identity", **headers}
        if url.userinfo:
            sent.setdefault("Authorization", f"Basic {base64.b64encode(url.userinfo).decode()}")
        content = None
        if json is not None:
            sent["Content-Type"] = "application/json"
            content = orjson.dumps(json)
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
                location=_location(url, raw.status, received),
                retry_after_s=_retry_after_s(received.get("Retry-After")),
            )
            if not response.is_ok:
                return response
            return replace(response, content=self._body(url, raw, received))

    def _body(self, url: httpx.URL, raw: httpcore.Response, headers: httpx.Headers) -> bytes:
        encoding = headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):  # a few kilobytes may become gigabytes
            raise HttpClientError(
                f"{redacted(url)} sends its file compressed ({encoding[:40]}), which was not asked"
                " for: switch the compression of images off there"
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
                " overloaded, or far away?"
            )
        return (
            f"{redacted(url)} cannot be fetched from here: its host does not answer"
            f" ({self.limits.connect_s:g} s to connect, {self.limits.read_s:g} s between bytes)"
        )


def parse_url(url: str) -> httpx.URL:
    """A URL of http or https that can be asked.

    Raises:
        HttpClientError: it is none.
    """
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port or 80  # decoded here, where they may turn out wrong
    except (httpx.InvalidURL, UnicodeError) as error:
        raise HttpClientError(f"the image URL is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not host or not 0 < port < 1 << 16:
        raise HttpClientError(
            f"{redacted(parsed)} cannot be fetched: images come from http(s)://, s3://, gs://,"
            " azure-blob:// and data: URLs and from Label Studio's own files"
        )
    return parsed


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Whom a URL belongs to."""
    return url.scheme, url.host, url.port  # httpx leaves out a scheme's own port


def redacted(url: httpx.URL) -> str:
    """A URL for the log: without user, password, query and fragment, which may hold secrets."""
    bare = url.copy_with(username=None, password=None, query=None, fragment=None)
    return str(bare)[:200]


def _location(url: httpx.URL, status: int, headers: httpx.Headers) -> httpx.URL | None:
    """Where a redirect leads to; None where the response is no redirect."""
    location = headers.get("Location")
    if status not in _REDIRECTS or location is None:
        return None
    try:
        return url.join(location)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise HttpClientError(f"{redacted(url)} redirects to what is no URL: {error}") from error


def _retry_after_s(value: str | None) -> float | None:
    """Seconds, from seconds or a date; None where it says nothing."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
