"""The parts of Label Studio's API that the backend needs.

This client uses plain HTTP. label-studio-sdk's client needs pandas and takes two seconds to import.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from backend.http.client import HttpClient, Response, origin, redacted
from backend.label_studio import refusals
from backend.label_studio.api_key import ApiKey
from backend.label_studio.credentials import Credential
from backend.label_studio.discovery import Discovery, is_same_address
from backend.label_studio.errors import LabelStudioAnswerError, LabelStudioError
from backend.label_studio.file_urls import target_of
from backend.label_studio.setup_info import SetupInfo, SetupInfoFile
from backend.label_studio.sign_in import SignIn

logger = logging.getLogger(__name__)

# Anybody may call /setup. Each hostname gets one line in the log, up to these limits.
_LONGEST_TOLD = 200  # characters
_MOST_TOLD = 100  # hostnames


class LabelStudio:
    """A client of one Label Studio. Threads may share a client.

    Args:
        url: the address of Label Studio without a slash at the end; None to use ``/setup``'s.
        api_key: a personal access token, a legacy token, or where such a token is.
        http: makes the requests.
        setup_info: keeps what ``/setup`` says. It is used where ``url`` is None, and where Label
            Studio does not accept ``api_key``.
        container_hosts: see :class:`Discovery`.
    """

    def __init__(
        self,
        url: str | None,
        api_key: str | ApiKey | None,
        http: HttpClient | None = None,
        setup_info: SetupInfoFile | None = None,
        container_hosts: tuple[str, ...] | None = None,
    ) -> None:
        http = http or HttpClient()
        self._http = http
        self._setup_info = setup_info
        self._discovery = Discovery(url, http, setup_info, container_hosts)
        if not isinstance(api_key, ApiKey):
            api_key = ApiKey(api_key)
        self._sign_in = SignIn(api_key, http, self._discovery, setup_info)
        self._told: set[str] = set()

    def note_setup(
        self, hostname: str | None, access_token: str | None, *, is_proven: bool
    ) -> None:
        """Note what ``/setup`` says.

        Args:
            hostname: where Label Studio says that it is.
            access_token: the token that it hands out.
            is_proven: whether the request came with the password. Without a password anybody may
                call ``/setup``. Such a caller cannot say where Label Studio is, and its token is
                sent to LABEL_STUDIO_URL only.
        """
        told = (hostname or "")[:_LONGEST_TOLD]
        is_new = told not in self._told and len(self._told) < _MOST_TOLD
        if told and not is_proven and is_new and self._discovery.set_url is None:
            self._told.add(told)
            logger.warning(
                "Label Studio's files cannot be fetched: LABEL_STUDIO_URL is not set. Somebody"
                " without a password says that Label Studio is at %r. If that is right, set"
                " LABEL_STUDIO_URL to the address at which the backend reaches Label Studio.",
                told,
            )
        if self._setup_info is not None:
            address = hostname.rstrip("/") if hostname else None
            proven, unproven = (address, None) if is_proven else (None, address)
            self._setup_info.write(SetupInfo(proven, access_token or None, unproven))

    def is_set_to(self, url: str) -> bool:
        """Whether a URL is the address that the operator has set.

        All names of loopback are the same. Label Studio calls itself localhost where its own
        address is not set.
        """
        address = self._discovery.set_url
        return address is not None and is_same_address(address, url)

    @property
    def url(self) -> str:
        """See :meth:`Discovery.address`."""
        return self._discovery.address(self._http.deadline())

    @property
    def working_credential(self) -> Credential | None:
        """The credential that Label Studio accepted last; None before the first request."""
        return self._sign_in.working_credential

    @property
    def scheme(self) -> str | None:
        """The scheme of the page that shows a task: http or https; None if that is unknown."""
        roots = self._discovery.roots()
        return httpx.URL(roots[-1]).scheme if roots else None

    def target_of(self, url: str) -> str | None:
        """See :func:`backend.label_studio.file_urls.target_of`."""
        return target_of(url, self._discovery.roots())

    def is_neighbour(self, url: httpx.URL) -> bool:
        """Whether a URL is at the same host and port as Label Studio. The operator trusts both."""
        return origin(url) in set(map(origin, map(httpx.URL, self._discovery.candidates())))

    def get(
        self,
        target: str,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        *,
        reads_body: bool = True,
    ) -> Response:
        """Get what lies at a path and query below Label Studio's address, with a token.

        Raises:
            LabelStudioError: see :meth:`SignIn.send`.
        """
        url = httpx.URL(self._discovery.address(deadline) + target)
        return self._sign_in.send("GET", url, deadline, headers, reads_body=reads_body)

    def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        attempts: int | None = None,
        **parameters: str | int,
    ) -> Any:
        """Call the API with a token. Returns the JSON of the answer; None if the answer has none.

        Args:
            method: the HTTP method.
            path: the path below the address of Label Studio.
            json: the body, as a value that JSON can express; None for no body.
            attempts: see :meth:`HttpClient.request`. A call that must not happen twice has one.
            parameters: of the query.

        Raises:
            LabelStudioError: no answer, or the answer is no success.
        """
        deadline = self._http.deadline()
        target = str(httpx.URL(path, params=parameters))
        url = httpx.URL(self._discovery.address(deadline) + target)
        response = self._sign_in.send(method, url, deadline, json=json, attempts=attempts)
        if response.status == httpx.codes.NO_CONTENT:
            return None
        return self._checked(response, path)

    def version(self) -> str:
        """The name and version of the server at :attr:`url`. The request carries no token.

        Raises:
            LabelStudioError: no answer, or not the answer of a Label Studio.
        """
        path = "/api/version/"
        url = httpx.URL(self.url + path)
        response = self._sign_in.request("GET", url, self._http.deadline(), {})
        fields = self._checked(response, path)
        release = fields.get("release") if isinstance(fields, dict) else None
        if not isinstance(release, str):
            raise LabelStudioError(self._unlike(path))
        return f"Label Studio {release}"

    def whoami(self) -> dict[str, Any]:
        """The user whose token is accepted.

        Raises:
            LabelStudioError: no token is accepted, or no answer.
        """
        return self._object("/api/current-user/whoami")

    def project(self, project_id: int) -> dict[str, Any]:
        """A project. Its fields include ``label_config`` and ``task_number``.

        Raises:
            LabelStudioError: there is none, or no answer.
        """
        return self._object(f"/api/projects/{project_id}/")

    def backends(self, project_id: int) -> list[dict[str, Any]]:
        """The ML backends of a project. Label Studio calls ``/health`` of each before it answers.

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

    def annotation(self, annotation_id: int) -> dict[str, Any]:
        """A submitted annotation, with its ``project``, ``task`` and ``result``.

        Raises:
            LabelStudioError: there is none, or no answer.
        """
        return self._object(f"/api/annotations/{annotation_id}/")

    def has_task(self, task_id: int) -> bool:
        """Whether there is such a task.

        Raises:
            LabelStudioError: no answer.
        """
        path = f"/api/tasks/{task_id}/"
        response = self._call(path)
        if response.status == httpx.codes.NOT_FOUND:
            return False
        self._checked(response, path)
        return True

    def tasks_after(
        self, project_id: int, task_id: int, count: int, *, annotated: bool = False
    ) -> list[dict[str, Any]]:
        """The next tasks of a project, in the order of their ids.

        Args:
            task_id: the tasks after this task; 0 for the first tasks.
            count: the largest number of tasks.
            annotated: only tasks that have annotations, and with ``annotations`` and
                ``predictions``.

        Raises:
            LabelStudioError: no answer.
        """
        least = {"id": task_id, **({"total_annotations": 0} if annotated else {})}
        more = {"operator": "greater", "type": "Number"}
        items = [{**more, "filter": f"filter:tasks:{k}", "value": v} for k, v in least.items()]
        query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
        page = self._object(
            "/api/tasks/",
            project=project_id,
            page_size=count,
            fields="all" if annotated else "task_only",
            query=json.dumps(query),
        )
        tasks: list[dict[str, Any]] = page["tasks"]
        return tasks

    def all_tasks(
        self, project_id: int, page_size: int = 500, *, annotated: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Every task of a project, in the order of their ids. One request gets a page of tasks.

        Args:
            annotated: see :meth:`tasks_after`.

        Raises:
            LabelStudioError: no answer.
        """
        last = 0
        while page := self.tasks_after(project_id, last, page_size, annotated=annotated):
            yield from page
            last = page[-1]["id"]

    def _object(self, path: str, **parameters: str | int) -> dict[str, Any]:
        fields = self._checked(self._call(path, **parameters), path)
        if not isinstance(fields, dict):
            raise LabelStudioError(self._unlike(path))
        return fields

    def _list(self, path: str, **parameters: str | int) -> list[dict[str, Any]]:
        items = self._checked(self._call(path, **parameters), path)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise LabelStudioError(self._unlike(path))
        return items

    def _call(self, path: str, **parameters: str | int) -> Response:
        target = httpx.URL(path, params=parameters)
        return self.get(str(target), self._http.deadline())

    def _checked(self, response: Response, path: str) -> Any:
        """The JSON of a successful response of Label Studio."""
        if response.location is not None:
            raise LabelStudioError(
                f"{self.url} redirects to {redacted(response.location)}: set LABEL_STUDIO_URL to"
                " the address that answers without a redirect"
            )
        if response.status == httpx.codes.NOT_FOUND:
            sentence = refusals.missing(path, response.url.params)
            raise LabelStudioAnswerError(sentence, response.status)
        if not response.is_ok:
            raise LabelStudioAnswerError(
                f"Label Studio answered {response.status_line} to {path}", response.status
            )
        return response.json()

    def _unlike(self, path: str) -> str:
        return f"{self.url} did not answer {path} as Label Studio does: is LABEL_STUDIO_URL right?"
