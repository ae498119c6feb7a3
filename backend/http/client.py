"""Every HTTP request that leaves the backend: where it may go, how long it may take, how much it
may bring.

Connections are made by network.py, which checks where they lead.
"""

from __future__ import annotations

import http.cookiejar
import json
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from backend.http.addresses import AllowedHosts
from backend.http.errors import HttpClientError, RefusedHostError
from backend.http.sockets import CheckedNetwork, CheckedTransport, Resolve, look_up

_TEMPORARY = (429, 502, 503, 504)


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
    """One pooled HTTP client; threads may share it. No proxy, no cookies, no redirects followed.

    A proxy would be the one that looks names up and connects, so the check of addresses would
    check nothing: HTTP_PROXY and its like are not read.

    Args:
        allowed_hosts: what may be asked beside the public internet.
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
        self._client = httpx.Client(
            transport=CheckedTransport(self._network),
            timeout=httpx.Timeout(self.limits.read_s, connect=self.limits.connect_s),
            trust_env=False,
            headers={"User-Agent": "mobile-sam-backend", "Accept-Encoding": "identity"},
        )
        weakref.finalize(self, self._client.close)  # no connection outlives it
        self._client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))

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
                    answer = self._request(method, url, headers or {}, json)
            except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError) as error:
                if attempt == attempts or time.monotonic() + wait > deadline:
                    raise HttpClientError(
                        f"{redacted(url)} cannot be fetched from here: {_reason(error)}"
                    ) from error
            except RefusedHostError as error:
                raise HttpClientError(str(error)) from error
            except httpx.TimeoutException as error:
                raise HttpClientError(self._too_slow(url, deadline)) from error
            except httpx.HTTPError as error:
                raise HttpClientError(
                    f"{redacted(url)} cannot be fetched from here: {_reason(error)}"
                ) from error
            else:
                wait = max(wait, answer.retry_after_s or 0.0)
                is_retryable = answer.status in _TEMPORARY and wait <= self.limits.retry_after_s
                if not is_retryable or attempt == attempts or time.monotonic() + wait > deadline:
                    return answer
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _request(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], json: Any
    ) -> Response:
        with self._client.stream(method, url, headers=headers, json=json) as response:
            following = response.next_request
            answer = Response(
                url,
                response.status_code,
                location=following.url if following else None,
                retry_after_s=_retry_after_s(response.headers.get("Retry-After")),
            )
            if not answer.is_ok:
                return answer
            announced = response.headers.get("Content-Length", "")
            if announced.isdecimal() and int(announced) > self.limits.max_bytes:
                raise HttpClientError(self._too_large(url))
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > self.limits.max_bytes:
                    raise HttpClientError(self._too_large(url))
            return Response(url, response.status_code, bytes(content))

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
