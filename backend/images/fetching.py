"""Gets the image file behind the URL in a task."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.http.client import HttpClient, Response, parse_url, redacted
from backend.http.errors import HttpClientError
from backend.images import data_uri, local_files
from backend.images.urls import STORAGES, is_data_uri, trimmed
from backend.images.validator import Validator
from backend.label_studio.client import LabelStudio
from backend.label_studio.file_urls import LOCAL_FILES

_MAX_REDIRECTS = 5
_PROBE_S = 10.0


@dataclass(frozen=True)
class File:
    """A fetched file, and what tells later whether the file has changed."""

    content: bytes
    validator: Validator


class Fetcher:
    """Fetches images. Threads may share it.

    Args:
        label_studio: gives its own files and the files of its storages; None without Label Studio.
        http: makes the requests to all other hosts.
        local_files: the folder that Label Studio serves as local files, as it is mounted here, or
            None.
    """

    def __init__(
        self,
        label_studio: LabelStudio | None,
        http: HttpClient,
        local_files: Path | None = None,
    ) -> None:
        self._label_studio = label_studio
        self._http = http
        self._local_files = local_files

    def fetch(self, url: str, task_id: int | None = None) -> File:
        """Get the file behind a URL.

        Args:
            url: a path of Label Studio (``/data/...``), http(s), s3, gs, azure-blob or data.
            task_id: the task with the URL. Label Studio needs the task to open a storage.

        Raises:
            HttpClientError, LabelStudioError, OSError: the file is not available.
        """
        url = trimmed(url)
        if is_data_uri(url):
            content = data_uri.content_of(url)
            return File(content, Validator.of_headers(httpx.Headers(), content))
        mounted = self.mounted(url)
        if mounted is not None:
            return self.read(mounted)
        response = self._follow(self._target(url, task_id), self._http.deadline())
        content = _content(response)
        return File(content, Validator.of_headers(response.headers, content))

    def read(self, path: Path) -> File:
        """Get a file of this machine.

        Raises:
            HttpClientError, OSError: the file is too large or cannot be read.
        """
        return File(*local_files.read(path.resolve(), self._http.limits.max_bytes))

    def probe(self, url: str, task_id: int | None, known: Validator) -> Validator:
        """Ask a host whether the file behind a URL has changed. No body is read.

        Args:
            url, task_id: as for :meth:`fetch`.
            known: the last known validator.

        Returns:
            ``known`` if the host says that the file has not changed; otherwise a validator without
            ``sha256``.

        Raises:
            HttpClientError, LabelStudioError: the host gives no access, or does not answer.
        """
        deadline = min(self._http.deadline(), time.monotonic() + _PROBE_S)
        target = self._target(trimmed(url), task_id)
        response = self._follow(target, deadline, known.conditions(), reads_body=False)
        if response.status == httpx.codes.NOT_MODIFIED:
            return known
        _content(response)
        return Validator.of_headers(response.headers)

    def mounted(self, url: str) -> Path | None:
        """The file behind a URL of Label Studio's local files if its folder is mounted here.

        Raises:
            HttpClientError, LabelStudioError: the URL is not valid.
        """
        if self._local_files is None or LOCAL_FILES not in url:
            return None
        target = self._of_label_studio(trimmed(url))
        path, _, query = (target or "").partition("?")
        name = httpx.QueryParams(query).get("d")
        if not name or path.rstrip("/") != LOCAL_FILES:
            return None
        return local_files.find(self._local_files, name)

    def _target(self, url: str, task_id: int | None) -> str:
        """The URL at which a file is fetched: http(s), or a path of Label Studio."""
        if any("\ud800" <= character <= "\udfff" for character in url):
            raise HttpClientError("the image URL is not a valid text: it contains half a character")
        scheme = url.partition(":")[0].lower()
        if scheme in STORAGES:
            if task_id is None:
                raise HttpClientError(
                    f"{scheme}:// files are fetched through their task, but the request has no"
                    " task id"
                )
            file_uri = base64.urlsafe_b64encode(url.encode()).decode()
            return str(httpx.URL(f"/tasks/{task_id}/presign/", params={"fileuri": file_uri}))
        path, mark, query = url.partition("?")
        url = path.replace("\\", "/") + mark + query
        if url.startswith("//") and self._label_studio is not None:
            return f"{self._label_studio.scheme or 'http'}:{url}"
        return url

    def _follow(
        self,
        url: str,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        *,
        reads_body: bool = True,
    ) -> Response:
        """Get a URL and follow redirects. Only Label Studio gets Label Studio's token."""
        first = url
        for _ in range(_MAX_REDIRECTS + 1):
            target = self._of_label_studio(url)
            if target is not None and self._label_studio is not None:
                response = self._label_studio.get(target, deadline, headers, reads_body=reads_body)
            else:
                parsed, own = parse_url(url), self._label_studio
                response = self._http.request(
                    "GET",
                    parsed,
                    deadline=deadline,
                    headers=headers,
                    is_trusted=own is not None and own.is_neighbour(parsed),
                    reads_body=reads_body,
                )
            if response.location is None:
                return response
            url = str(response.location)
        raise HttpClientError(f"{first[:200]} redirects more than {_MAX_REDIRECTS} times")

    def _of_label_studio(self, url: str) -> str | None:
        """The path and query of a file of Label Studio; None for a file of another host."""
        if self._label_studio is not None:
            return self._label_studio.target_of(url)
        if url.startswith("/") and not url.startswith("//"):
            raise HttpClientError(
                "Label Studio's own files and storages cannot be used because LABEL_STUDIO_URL is"
                " not set: set it to the address at which the backend reaches Label Studio"
            )
        return None


_REMEDIES: Mapping[int, str] = {
    401: "its host asks for a login: use a URL that needs no login",
    403: "its host forbids the access: has a signed URL expired, or is the storage private?",
    404: "there is no such file, or this user may not see it",
    204: "there is no file",
    205: "there is no file",
    410: "the file is gone",
}


def _content(response: Response) -> bytes:
    if response.is_ok:
        return response.content
    sentence = f"{redacted(response.url)} answered {response.status_line}"
    remedy = _REMEDIES.get(response.status)
    if (
        response.url.path.rstrip("/").endswith(LOCAL_FILES)
        and response.status == httpx.codes.NOT_FOUND
    ):
        remedy = "the file is not in a local storage of the project"
    if "/presign" in response.url.path and response.status == httpx.codes.NOT_FOUND:
        remedy = "no source storage of the project contains this file"
    raise HttpClientError(f"{sentence}: {remedy}" if remedy else sentence)
