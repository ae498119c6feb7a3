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

from backend.http.client import HttpClient, parse_url
from backend.http.errors import HttpClientError
from backend.label_studio.errors import LabelStudioError
from backend.label_studio.setup_info import SetupInfoFile

logger = logging.getLogger(__name__)

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# The machine that a container runs on, and the name that compose files give to the service.
_CONTAINER_HOSTS = ("host.docker.internal", "label-studio")
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_PROBE_S = 3.0
_NOBODY_S = 10.0  # how long "no candidate answers" is remembered

Candidates = tuple[str, ...]


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
        self._probing = threading.Lock()
        self._found: tuple[Candidates, str] | None = None
        self._nobody: tuple[Candidates, float] | None = None  # no answer, until this time

    def address(self, deadline: float) -> str:
        """The address of Label Studio without a slash at the end.

        Several candidates are probed by one thread, and the other threads wait for its result.

        Args:
            deadline: when to give up, by the monotonic clock.

        Raises:
            LabelStudioError: neither LABEL_STUDIO_URL nor ``/setup`` gives an address, or no
                candidate has answered by the deadline.
        """
        candidates = self.candidates()
        if not candidates:
            raise LabelStudioError(
                "LABEL_STUDIO_URL is not set: set it to the address at which the backend reaches"
                " Label Studio"
            )
        if len(candidates) == 1:
            return candidates[0]
        known = self._known(candidates)
        if known is not None:
            return known
        if not self._probing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise LabelStudioError(f"Label Studio did not answer at any of {', '.join(candidates)}")
        try:
            return self._known(candidates) or self._probe(candidates, deadline)
        finally:
            self._probing.release()

    def roots(self) -> Candidates:
        """Every address that URLs of Label Studio may begin with, without a slash at the end."""
        info = self._setup_info.read() if self._setup_info else None
        # Anybody may call /setup where no password is set. A name that came so only says which URLs
        # are files of LABEL_STUDIO_URL. No request goes to that name.
        public = info.unproven_hostname if info and self.set_url else None
        return (*self.candidates(), *((public,) if public and _is_url(public) else ()))

    def forget(self) -> None:
        """Forget the address, because Label Studio did not answer there."""
        self._found = None

    def hint(self, url: httpx.URL) -> str:
        """A remark in brackets about a URL that did not answer; often an empty text."""
        if url.host in _LOOPBACK and self._container_hosts:
            return f" ({url.host} is this container itself)"
        return ""

    def _known(self, candidates: Candidates) -> str | None:
        """What the last probe of the candidates found, as long as that holds."""
        found, nobody = self._found, self._nobody
        if found is not None and found[0] == candidates:
            return found[1]
        if nobody is not None and nobody[0] == candidates and time.monotonic() < nobody[1]:
            return candidates[0]
        return None

    def _probe(self, candidates: Candidates, deadline: float) -> str:
        """The first candidate that answers; the first of all if no candidate does."""
        for candidate in candidates:
            if time.monotonic() >= deadline:
                break
            if self._answers(candidate, deadline):
                logger.info("Label Studio is reached at %s", candidate)
                self._found = candidates, candidate
                return candidate
        self._nobody = candidates, time.monotonic() + _NOBODY_S
        return candidates[0]

    def candidates(self) -> Candidates:
        """The addresses of LABEL_STUDIO_URL and ``/setup``, and both as seen in a container."""
        hostname = self._setup_info.read().hostname if self._setup_info else None
        stated = [self.set_url] if self.set_url else []
        if hostname and _is_url(hostname):
            stated.append(hostname)
        found = list(stated)
        for url in map(httpx.URL, stated):
            if url.host in _LOOPBACK:
                found += [
                    str(url.copy_with(host=name)).rstrip("/") for name in self._container_hosts
                ]
        return tuple(dict.fromkeys(found))

    def _answers(self, candidate: str, deadline: float) -> bool:
        """Whether Label Studio answers at a candidate. The request carries no token.

        At LABEL_STUDIO_URL any answer counts, because the operator has named that address.
        """
        url = httpx.URL(f"{candidate}/api/version/")
        deadline = min(deadline, time.monotonic() + _PROBE_S)
        try:
            response = self._http.request(
                "GET", url, deadline=deadline, is_trusted=True, attempts=1
            )
        except HttpClientError as error:
            logger.info("Label Studio is not at %s: %s", candidate, error)
            return False
        fields = response.json() if response.is_ok else None
        return candidate == self.set_url or (isinstance(fields, dict) and "release" in fields)


def is_same_address(first: str, second: str) -> bool:
    """Whether two URLs are the same address. All names of loopback are the same."""
    return _normal(first) is not None and _normal(first) == _normal(second)


def _normal(url: str) -> tuple[str, str, int | None, str] | None:
    try:
        parsed = parse_url(url)
    except HttpClientError:
        return None
    host = _LOOPBACK[0] if parsed.host in _LOOPBACK else parsed.host
    return parsed.scheme, host, parsed.port, parsed.path.rstrip("/")


def _is_url(hostname: str) -> bool:
    try:
        parse_url(hostname)
    except HttpClientError as error:
        logger.debug("the hostname in /setup is not a URL: %s", error)
        return False
    return True
