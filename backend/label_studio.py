"""Label Studio as seen from here: where it is, signing in, its files, tasks and projects.

Its token goes to its own origin and nowhere else. It knows nothing of images or masks. Plain HTTP
and not label-studio-sdk's client, which takes two seconds and pandas to import.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from backend.announcement import Announcement, AnnouncementFile
from backend.credentials import Credential
from backend.outgoing import Answer, Outgoing, OutgoingError, origin, parse_url, shown

logger = logging.getLogger(__name__)

_API_KEY = "LABEL_STUDIO_API_KEY"
_NEW_TOKEN = "create a personal access token in Label Studio (Account & Settings) and set it as"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What a container may reach a Label Studio by that calls itself localhost: the machine around the
# container, and the name that compose files give to the service.
_AROUND_A_CONTAINER = ("host.docker.internal", "label-studio")
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_PROBE_S = 3.0


class LabelStudioError(ValueError):
    """Label Studio did not answer as it should. Names the cause and the mend."""


class LabelStudio:
    """A Label Studio to talk to. Threads may share it.

    Args:
        url: where it is reached, without a slash at the end; None to go by its announcements.
        api_key: a personal access token, a legacy token, or None.
        outgoing: makes the requests.
        announcements: what /setup has said; a fall-back for what is not set.
        around: host names to try in the place of localhost; by default those that make sense
            in a container, when this is one.
    """

    def __init__(
        self,
        url: str | None,
        api_key: str | None,
        outgoing: Outgoing | None = None,
        announcements: AnnouncementFile | None = None,
        around: tuple[str, ...] | None = None,
    ) -> None:
        if around is None:
            around = _AROUND_A_CONTAINER if any(map(Path.exists, _CONTAINER_MARKS)) else ()
        self._set_url = url
        self._set_credential = Credential(api_key, _API_KEY) if api_key else None
        self._outgoing = outgoing or Outgoing()
        self._announcements = announcements
        self._around = around
        self._lock = threading.Lock()
        self._found: tuple[tuple[str, ...], str] | None = None  # of these candidates, this one
        self._told: set[str] = set()
        self.working_credential: Credential | None = None

    def announced(self, hostname: str | None, access_token: str | None, is_proven: bool) -> None:
        """Note what /setup says.

        Args:
            is_proven: whether it came with the password. Anybody may call /setup where none is
                set: such a caller cannot say where Label Studio is, and what it gives as a token
                is at most offered to the Label Studio of LABEL_STUDIO_URL.
        """
        if hostname and not is_proven and self._set_url is None and hostname not in self._told:
            self._told.add(hostname[:200])
            logger.warning(
                "Label Studio's files cannot be fetched: somebody without a password says that"
                " Label Studio is at %.200r. If that is so, set LABEL_STUDIO_URL to where it is"
                " reached from here.",
                hostname,
            )
        if self._announcements is not None:
            believed = hostname.rstrip("/") if hostname and is_proven else None
            self._announcements.write(Announcement(believed, access_token or None))

    @property
    def url(self) -> str:
        """Where it is reached from here, without a slash at the end.

        Raises:
            LabelStudioError: nobody has said.
        """
        candidates = self._candidates()
        if not candidates:
            raise LabelStudioError(
                "LABEL_STUDIO_URL is not set: set it to where Label Studio is reached from here"
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
        """A URL of Label Studio's as it is reached from here; None if it is somebody else's."""
        candidates = self._candidates()
        if origin(url) not in {origin(httpx.URL(candidate)) for candidate in candidates}:
            return None
        here = httpx.URL(self.url)
        return url.copy_with(scheme=here.scheme, host=here.host, port=here.port)

    def get(self, url: httpx.URL, deadline: float) -> Answer:
        """Get a URL of Label Studio's, with the token that it accepts.

        Raises:
            LabelStudioError: it cannot be reached, or accepts no token.
        """
        refused: list[str] = []
        status = 401
        for credential in self._credentials():
            try:
                headers = (
                    {"Authorization": credential.header(lambda t: self._exchange(t, deadline))}
                    if credential
                    else {}
                )
                answer = self._request("GET", url, deadline, headers)
            except _Refused as error:
                refused.append(f"{credential} ({error.status} when an access token was asked for)")
                continue
            if answer.status not in (401, 403):
                if credential is not self.working_credential and credential is not None:
                    logger.info("Label Studio accepts %s", credential)
                self.working_credential = credential
                return answer
            status = answer.status
            if credential:
                refused.append(f"{credential} ({status})")
        raise LabelStudioError(_refusal(url, status, refused))

    def version(self) -> str:
        """What answers there, with its version. It is asked without a token.

        Raises:
            LabelStudioError: no answer, or not Label Studio's.
        """
        path = "/api/version/"
        url = httpx.URL(self.url + path)
        fields = self._checked(self._request("GET", url, self._outgoing.deadline(), {}), path)
        release = fields.get("release") if isinstance(fields, dict) else None
        if not isinstance(release, str):
            raise LabelStudioError(self._unlike(path))
        return f"Label Studio {release}"

    def whoami(self) -> dict[str, Any]:
        """The user whose token is accepted.

        Raises:
            LabelStudioError: none is, or no answer.
        """
        return self._object("/api/current-user/whoami")

    def project(self, project_id: int) -> dict[str, Any]:
        """A project, its ``label_config`` and ``task_number`` among its fields.

        Raises:
            LabelStudioError: there is none, or no answer.
        """
        return self._object(f"/api/projects/{project_id}/")

    def backends(self, project_id: int) -> list[dict[str, Any]]:
        """The ML backends of a project. Label Studio calls each one's /health before it answers.

        Raises:
            LabelStudioError: no answer.
        """
        return self._list("/api/ml", project=project_id)

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """The webhooks of a project.

        Raises:
            LabelStudioError: no answer.
        """
        return self._list("/api/webhooks/", project=project_id)

    def task(self, task_id: int) -> dict[str, Any]:
        """A task, with its ``data`` and ``project``.

        Raises:
            LabelStudioError: there is none, or no answer.
        """
        return self._object(f"/api/tasks/{task_id}/")

    def has_task(self, task_id: int) -> bool:
        """Whether there is such a task.

        Raises:
            LabelStudioError: no answer.
        """
        path = f"/api/tasks/{task_id}/"
        answer = self._call(path)
        if answer.status == httpx.codes.NOT_FOUND:
            return False
        self._checked(answer, path)
        return True

    def tasks_after(self, project_id: int, task_id: int, count: int) -> list[dict[str, Any]]:
        """The next tasks of a project, in the order of their ids.

        Args:
            task_id: they come after this one; 0 for the first.
            count: at most so many.

        Raises:
            LabelStudioError: no answer.
        """
        after = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number"}
        query = {
            "filters": {"conjunction": "and", "items": [{**after, "value": task_id}]},
            "ordering": ["tasks:id"],
        }
        answer = self._object(
            "/api/tasks/",
            project=project_id,
            page_size=count,
            fields="task_only",
            query=json.dumps(query),
        )
        tasks: list[dict[str, Any]] = answer["tasks"]
        return tasks

    def all_tasks(self, project_id: int, page_size: int = 500) -> Iterator[dict[str, Any]]:
        """Every task of a project, in the order of their ids, a page at a time.

        Raises:
            LabelStudioError: no answer.
        """
        last = 0
        while page := self.tasks_after(project_id, last, page_size):
            yield from page
            last = page[-1]["id"]

    def _object(self, path: str, **parameters: str | int) -> dict[str, Any]:
        answer = self._checked(self._call(path, **parameters), path)
        if not isinstance(answer, dict):
            raise LabelStudioError(self._unlike(path))
        return answer

    def _list(self, path: str, **parameters: str | int) -> list[dict[str, Any]]:
        answer = self._checked(self._call(path, **parameters), path)
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise LabelStudioError(self._unlike(path))
        return answer

    def _call(self, path: str, **parameters: str | int) -> Answer:
        url = httpx.URL(self.url + path, params=parameters)
        return self.get(url, self._outgoing.deadline())

    def _checked(self, answer: Answer, path: str) -> Any:
        """The JSON of an answer, once it is sure that it is Label Studio's."""
        if answer.location is not None:
            raise LabelStudioError(
                f"{self.url} sends elsewhere, to {shown(answer.location)}: set LABEL_STUDIO_URL to"
                " the address that answers itself"
            )
        if answer.status == httpx.codes.NOT_FOUND:
            raise LabelStudioError(f"Label Studio has no {path}, or not for the user of its token")
        if not answer.is_ok:
            raise LabelStudioError(f"Label Studio answered {answer.status_line} to {path}")
        return answer.json()

    def _unlike(self, path: str) -> str:
        return f"{self.url} did not answer {path} as Label Studio does: is LABEL_STUDIO_URL right?"

    def _request(
        self,
        method: str,
        url: httpx.URL,
        deadline: float,
        headers: dict[str, str],
        json: Any = None,
    ) -> Answer:
        try:
            return self._outgoing.request(
                method, url, deadline=deadline, headers=headers, json=json, is_trusted=True
            )
        except OutgoingError as error:
            self._found = None  # it may have moved
            hint = ""
            if url.host in _LOOPBACK and self._around:
                hint = f" ({url.host} is this container itself)"
            raise LabelStudioError(
                f"Label Studio did not answer: {error}. Is LABEL_STUDIO_URL where it is reached"
                f" from here{hint}?"
            ) from error

    def _exchange(self, personal_token: str, deadline: float) -> str:
        """An access token for a personal one."""
        url = httpx.URL(self.url + "/api/token/refresh/")
        answer = self._request("POST", url, deadline, {}, {"refresh": personal_token})
        fields = answer.json() if answer.is_ok else None
        access_token = fields.get("access") if isinstance(fields, dict) else None
        if not isinstance(access_token, str) or not access_token.isascii():
            raise _Refused(answer.status)
        return access_token

    def _credentials(self) -> list[Credential | None]:
        """What to try, in order; None for no token."""
        offered = [self._set_credential] if self._set_credential else []
        token = self._announcements.read().access_token if self._announcements else None
        if token and token.isascii() and token.isprintable():
            offered.append(Credential(token, "/setup"))
        working = self.working_credential
        if working is not None:
            offered = [working, *(c for c in offered if c.token != working.token)]
        return [*offered] if offered else [None]

    def _candidates(self) -> tuple[str, ...]:
        """Where it may be: as set, as it announces itself, and both as seen from a container."""
        announced = self._announcements.read().hostname if self._announcements else None
        stated = [self._set_url] if self._set_url else []
        if announced:
            try:
                parse_url(announced)
                stated.append(announced)
            except OutgoingError as error:
                logger.debug("Label Studio announces itself with no URL: %s", error)
        found = list(stated)
        for url in map(httpx.URL, stated):
            if url.host in _LOOPBACK:
                found += [str(url.copy_with(host=name)).rstrip("/") for name in self._around]
        return tuple(dict.fromkeys(found))

    def _answers(self, candidate: str) -> bool:
        """Whether Label Studio answers there; where it is said to be, any answer will do.

        It is asked without a token.
        """
        url = httpx.URL(f"{candidate}/api/version/")
        try:
            answer = self._outgoing.request(
                "GET", url, deadline=time.monotonic() + _PROBE_S, is_trusted=True, attempts=1
            )
        except OutgoingError as error:
            logger.info("Label Studio is not at %s: %s", candidate, error)
            return False
        fields = answer.json() if answer.is_ok else None
        return candidate == self._set_url or (isinstance(fields, dict) and "release" in fields)


class _Refused(ValueError):
    """A personal access token was not exchanged for an access token."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _refusal(url: httpx.URL, status: int, refused: list[str]) -> str:
    """Why Label Studio answered 401 or 403, and what to do."""
    asked = f"Label Studio refuses {shown(url)}"
    if not refused:
        return f"{asked} ({status}) without a token: {_NEW_TOKEN} {_API_KEY}"
    sentence = f"{asked} to {' and to '.join(refused)}: {_NEW_TOKEN} {_API_KEY}"
    if any("legacy token" in token for token in refused):
        sentence += "; legacy tokens are switched off unless an organization allows them"
    if url.path.startswith("/data/local-files") and status == httpx.codes.FORBIDDEN:
        sentence += (
            "; or Label Studio does not serve local files at all: start it with"
            " LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true"
        )
    return sentence
