"""The address at which this process reaches Label Studio.

LABEL_STUDIO_URL or ``/setup`` gives the address. "localhost" in a container means the container
itself. There, Label Studio is also looked for under the names that containers use for their host
and for other services.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import httpx

from backend.http.client import HttpClient, origin, parse_url
from backend.http.errors import HttpClientError
from backend.label_studio.errors import LabelStudioError
from backend.label_studio.setup_info import SetupInfoFile

logger = logging.getLogger(__name__)

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# The machine that a container runs on, and the name that compose files give to the service.
_CONTAINER_HOSTS = ("host.docker.internal", "label-studio")
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_PROBE_S = 3.0


class Discovery:
    """Finds the address of Label Studio. Threads may share a discovery.

    Args:
        url: LABEL_STUDIO_URL without a slash at the end; None to use ``setup_info``.
        http: makes the requests.
        setup_info: the last ``/setup``, or None.
        container_hosts: host names to try beside localhost; None for the two usual names if this
            process runs in a container.
    """

    def __init__(
        self,
        url: str | None,
        http: HttpClient,
        setup_info: SetupInfoFile | None,
        container_hosts: tuple[str, ...] | None = None,
    ) -> None:
        if container_hosts is None:
            container_hosts = _CONTAINER_HOSTS if any(map(Path.exists, _CONTAINER_MARKS)) else ()
        self.set_url = url
        self._http = http
        self._setup_info = setup_info
        self._container_hosts = container_hosts
        self._lock = threading.Lock()
        self._found: tuple[tuple[str, ...], str] | None = None  # of these candidates, this one

    @property
    def url(self) -> str:
        """The address of Label Studio without a slash at the end.

        Raises:
            LabelStudioError: neither LABEL_STUDIO_URL nor ``/setup`` gives an address.
        """
        candidates = self._candidates()
        if not candidates:
            raise LabelStudioError(
                "LABEL_STUDIO_URL is not set: set it to the address at which the backend reaches"
                " Label Studio"
            )
        if len(candidates) == 1:
            return candidates[0]
        with self._lock:
            if self._found is None or self._found[0] != candidates:
                answering = next(filter(self._answers, candidates), None)
                if answering is None:
                    return candidates[0]
                logger.info("Label Studio is reached at %s", answering)
                self._found = candidates, answering
            return self._found[1]

    def local_url(self, url: httpx.URL) -> httpx.URL | None:
        """A URL of Label Studio as this process reaches it; None for the URL of another host."""
        candidates = self._candidates()
        if origin(url) not in {origin(httpx.URL(candidate)) for candidate in candidates}:
            return None
        here = httpx.URL(self.url)
        return url.copy_with(scheme=here.scheme, host=here.host, port=here.port)

    def forget(self) -> None:
        """Forget the address, because Label Studio did not answer there."""
        self._found = None

    def hint(self, url: httpx.URL) -> str:
        """A remark in brackets about a URL that did not answer; often an empty text."""
        if url.host in _LOOPBACK and self._container_hosts:
            return f" ({url.host} is this container itself)"
        return ""

    def _candidates(self) -> tuple[str, ...]:
        """The addresses of LABEL_STUDIO_URL and ``/setup``, and both as seen in a container."""
        hostname = self._setup_info.read().hostname if self._setup_info else None
        stated = [self.set_url] if self.set_url else []
        if hostname:
            try:
                parse_url(hostname)
                stated.append(hostname)
            except HttpClientError as error:
                logger.debug("the hostname in /setup is not a URL: %s", error)
        found = list(stated)
        for url in map(httpx.URL, stated):
            if url.host in _LOOPBACK:
                found += [
                    str(url.copy_with(host=name)).rstrip("/") for name in self._container_hosts
                ]
        return tuple(dict.fromkeys(found))

    def _answers(self, candidate: str) -> bool:
        """Whether Label Studio answers at a candidate. The request carries no token.

        At LABEL_STUDIO_URL any answer counts, because the operator has named that address.
        """
        url = httpx.URL(f"{candidate}/api/version/")
        try:
            response = self._http.request(
                "GET", url, deadline=time.monotonic() + _PROBE_S, is_trusted=True, attempts=1
            )
        except HttpClientError as error:
            logger.info("Label Studio is not at %s: %s", candidate, error)
            return False
        fields = response.json() if response.is_ok else None
        return candidate == self.set_url or (isinstance(fields, dict) and "release" in fields)
