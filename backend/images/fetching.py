"""Gets the image file behind the URL in a task."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import httpx

from backend.http.client import HttpClient, Response, parse_url, redacted
from backend.http.errors import HttpClientError
from backend.images import local_files
from backend.images.image_ref import STORAGES
from backend.images.validator import Validator
from backend.label_studio.client import LabelStudio

_LOCAL_FILES = "/data/local-files"
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
        if url[:5].lower() == "data:":
            content = _data_uri_content(url)
            return File(content, Validator.of_headers(httpx.Headers(), content))
        mounted = self.mounted(url)
        if mounted is not None:
            return self.read(mounted)
        response = self._follow(self._resolve(url, task_id), self._http.deadline())
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
        target = self._resolve(url, task_id)
        response = self._follow(target, deadline, known.conditions(), reads_body=False)
        if response.status == httpx.codes.NOT_MODIFIED:
            return known
        _content(response)
        return Validator.of_headers(response.headers)

    def mounted(self, url: str) -> Path | None:
        """The file behind a URL of Label Studio's local files if its folder is mounted here."""
        if self._local_files is None or _LOCAL_FILES not in url:
            return None
        target = self._resolve(url, None)
        if self._label_studio is None or self._label_studio.local_url(target) is None:
            return None
        name = target.params.get("d")
        if not name or target.path.rstrip("/") != _LOCAL_FILES:
            return None
        return local_files.find(self._local_files, name)

    def _resolve(self, url: str, task_id: int | None) -> httpx.URL:
        """The http(s) URL at which a file is fetched."""
        if any("\ud800" <= character <= "\udfff" for character in url):
            raise HttpClientError("the image URL is not a valid text: it contains half a character")
        scheme = url.partition(":")[0].lower()
        if scheme in STORAGES:
            return self._presign(url, scheme, task_id)
        if url.startswith("/") and not url.startswith("//"):
            url = self._of_label_studio("Label Studio's own files").url + url
        return parse_url(url)

    def _follow(
        self,
        url: httpx.URL,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        *,
        reads_body: bool = True,
    ) -> Response:
        """Get a URL and follow redirects. Only Label Studio gets Label Studio's token."""
        first = url
        for _ in range(_MAX_REDIRECTS + 1):
            of_label_studio = self._label_studio.local_url(url) if self._label_studio else None
            if self._label_studio is not None and of_label_studio is not None:
                response = self._label_studio.get(
                    of_label_studio, deadline, headers, reads_body=reads_body
                )
            else:
                response = self._http.request(
                    "GET", url, deadline=deadline, headers=headers, reads_body=reads_body
                )
            if response.location is None:
                return response
            url = parse_url(str(response.location))
        raise HttpClientError(f"{redacted(first)} redirects more than {_MAX_REDIRECTS} times")

    def _of_label_studio(self, what: str) -> LabelStudio:
        if self._label_studio is None:
            raise HttpClientError(
                f"{what} cannot be fetched because LABEL_STUDIO_URL is not set: set it to the"
                " address at which the backend reaches Label Studio"
            )
        return self._label_studio

    def _presign(self, url: str, scheme: str, task_id: int | None) -> httpx.URL:
        """The URL at which Label Studio gives a file of a storage."""
        label_studio = self._of_label_studio(f"files of {scheme}:// storage")
        if task_id is None:
            raise HttpClientError(
                f"{scheme}:// files are fetched through their task, but the request has no task id"
            )
        file_uri = base64.urlsafe_b64encode(url.encode()).decode()
        path = f"{label_studio.url}/tasks/{task_id}/presign/"
        return httpx.URL(path, params={"fileuri": file_uri})


_REMEDIES: Mapping[int, str] = {
    401: "its host asks for a login: use a URL that needs no login",
    403: "its host forbids the access: has a signed URL expired, or is the storage private?",
    404: "there is no such file, or this user may not see it",
    410: "the file is gone",
}


def _content(response: Response) -> bytes:
    if response.is_ok:
        return response.content
    sentence = f"{redacted(response.url)} answered {response.status_line}"
    remedy = _REMEDIES.get(response.status)
    if response.url.path.rstrip("/") == _LOCAL_FILES and response.status == httpx.codes.NOT_FOUND:
        remedy = "the file is not in a local storage of the project"
    if "/presign" in response.url.path and response.status == httpx.codes.NOT_FOUND:
        remedy = "no source storage of the project contains this file"
    raise HttpClientError(f"{sentence}: {remedy}" if remedy else sentence)


def _data_uri_content(uri: str) -> bytes:
    header, comma, payload = uri.partition(",")
    if not comma:
        raise HttpClientError("the data: URI has no content, because it has no comma")
    content = unquote_to_bytes(payload)
    if not header.lower().rstrip().endswith(";base64"):
        return content
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise HttpClientError(f"the data: URI is not valid base64 ({error})") from error
