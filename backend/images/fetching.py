"""Gets the bytes behind a task's image URL, from wherever a task may say."""

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
        label_studio: where its own files and those of its storages are fetched from, or None.
        http: makes the requests to everybody else.
        local_files: the folder that Label Studio serves as local files, if it is mounted here.
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
        """Get what a URL of a task leads to.

        Args:
            url: a path of Label Studio (``/data/...``), http(s), s3, gs, azure-blob or data.
            task_id: the task it stands in; Label Studio asks for it before it opens a storage.

        Raises:
            HttpClientError, LabelStudioError, OSError: it cannot be had.
        """
        if any("\ud800" <= character <= "\udfff" for character in url):
            raise HttpClientError("the image URL is no text: it has half of a character")
        scheme = url.partition(":")[0].lower()
        if scheme == "data":
            return _data_uri_content(url)
        if scheme in _STORAGES:
            return self._follow(self._presign(url, scheme, task_id))
        if url.startswith("/") and not url.startswith("//"):
            url = self._of_label_studio("Label Studio's own files").url + url
        return self._follow(parse_url(url))

    def _follow(self, url: httpx.URL) -> bytes:
        """Get a URL, through redirects, with Label Studio's token to Label Studio alone."""
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
                f"{what} cannot be fetched, since LABEL_STUDIO_URL is not set: set it to where"
                " Label Studio is reached from here"
            )
        return self._label_studio

    def _presign(self, url: str, scheme: str, task_id: int | None) -> httpx.URL:
        """Where Label Studio gives out a file of one of its storages."""
        label_studio = self._of_label_studio(f"files of {scheme}:// storage")
        if task_id is None:
            raise HttpClientError(
                f"{scheme}:// files are fetched through the task they belong to, and the request"
                " names none"
            )
        file_uri = base64.urlsafe_b64encode(url.encode()).decode()
        path = f"{label_studio.url}/tasks/{task_id}/presign/"
        return httpx.URL(path, params={"fileuri": file_uri})

    def _mounted(self, url: httpx.URL) -> bytes | None:
        """A local file, read where it is mounted; None to ask Label Studio for it."""
        wanted = url.params.get("d")
        if self._local_files is None or not wanted or url.path.rstrip("/") != _LOCAL_FILES:
            return None
        root = self._local_files.resolve()
        try:
            path = (root / wanted.lstrip("/")).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # not there; no path; a ring of links
            return None
        if not path.is_relative_to(root):
            return None
        return _read(path, self._http.limits.max_bytes)


def _read(path: Path, max_bytes: int) -> bytes | None:
    """A regular file of bounded size; None if it is none or may not be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # no waiting on a pipe
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
        raise HttpClientError("a local file is larger than what is fetched: use a smaller image")
    return content


_MENDS: Mapping[int, str] = {
    401: "its host wants a login: the URL must be one that needs none",
    403: "its host forbids it: has a signed URL run out, or is the storage private?",
    404: "there is no such file, or not for this user",
    410: "the file is gone",
}


def _content(response: Response) -> bytes:
    if response.is_ok:
        return response.content
    sentence = f"{redacted(response.url)} answered {response.status_line}"
    mend = _MENDS.get(response.status)
    if response.url.path.rstrip("/") == _LOCAL_FILES and response.status == httpx.codes.NOT_FOUND:
        mend = "the file is not in a local storage that the project has connected"
    if "/presign" in response.url.path and response.status == httpx.codes.NOT_FOUND:
        mend = "the project has no source storage that this file lies in"
    raise HttpClientError(f"{sentence}: {mend}" if mend else sentence)


def _data_uri_content(uri: str) -> bytes:
    header, comma, payload = uri.partition(",")
    if not comma:
        raise HttpClientError("the data: URI has no comma, so no content")
    content = unquote_to_bytes(payload)
    if not header.lower().rstrip().endswith(";base64"):
        return content
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise HttpClientError(f"the data: URI is no valid base64 ({error})") from error
