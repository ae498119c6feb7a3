"""Gets the image file behind the URL in a task."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

import httpx

from backend.http.client import HttpClient, Response, parse_url, redacted
from backend.http.errors import HttpClientError
from backend.label_studio.client import LabelStudio

_STORAGES = ("s3", "gs", "azure-blob")
_LOCAL_FILES = "/data/local-files"
_MAX_REDIRECTS = 5


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

    def fetch(self, url: str, task_id: int | None = None) -> bytes:
        """Get the file behind a URL.

        Args:
            url: a path of Label Studio (``/data/...``), http(s), s3, gs, azure-blob or data.
            task_id: the task with the URL. Label Studio needs the task to open a storage.

        Raises:
            HttpClientError, LabelStudioError, OSError: the file is not available.
        """
        if any("\ud800" <= character <= "\udfff" for character in url):
            raise HttpClientError(
                "the image URL is not a valid text: it contains half of a character"
            )
        scheme = url.partition(":")[0].lower()
        if scheme == "data":
            return _data_uri_content(url)
        if scheme in _STORAGES:
            return self._follow(self._presign(url, scheme, task_id))
        if url.startswith("/") and not url.startswith("//"):
            url = self._of_label_studio("Label Studio's own files").url + url
        return self._follow(parse_url(url))

    def _follow(self, url: httpx.URL) -> bytes:
        """Get a URL and follow redirects. Only Label Studio gets Label Studio's token."""
        deadline = self._http.deadline()
        first = url
        for _ in range(_MAX_REDIRECTS + 1):
            of_label_studio = self._label_studio.local_url(url) if self._label_studio else None
            if of_label_studio is not None:
                content = self._mounted(of_label_studio)
                if content is not None:
                    return content
                assert self._label_studio is not None
                response = self._label_studio.get(of_label_studio, deadline)
            else:
                response = self._http.request("GET", url, deadline=deadline)
            if response.location is None:
                return _content(response)
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

    def _mounted(self, url: httpx.URL) -> bytes | None:
        """A local file from the mounted folder; None to get the file from Label Studio."""
        wanted = url.params.get("d")
        if self._local_files is None or not wanted or url.path.rstrip("/") != _LOCAL_FILES:
            return None
        root = self._local_files.resolve()
        try:
            path = (root / wanted.lstrip("/")).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # missing, no valid path, or a ring of links
            return None
        if not path.is_relative_to(root):
            return None
        return _read(path, self._http.limits.max_bytes)


def _read(path: Path, max_bytes: int) -> bytes | None:
    """The content of a regular file; None for anything else and for an unreadable file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe must not block
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(handle)
    if len(content) > max_bytes:
        raise HttpClientError(f"a local file is larger than {max_bytes} bytes: use a smaller image")
    return content


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
