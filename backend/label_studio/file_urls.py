"""Which URLs are files of Label Studio, and where below Label Studio's address a file lies.

A browser sees Label Studio at its public address, and the backend may reach Label Studio at another
address. Each may have a path of its own (``https://example.com/label-studio``). What both share is
the *target*: the path and the query below the address, such as ``/data/upload/4/x.png``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

import httpx

from backend.http.client import origin, parse_url, redacted
from backend.http.errors import HttpClientError
from backend.label_studio.errors import LabelStudioError

LOCAL_FILES = "/data/local-files"

# Everything that Label Studio 1.23 serves images from: uploads, local files and avatars; uploads in
# a cloud; files of storages; its own sample images. A proxy may serve Label Studio under a path
# that the backend does not know: such a path comes before the match.
_FILE = re.compile(
    r"/(data/.|static/.|storage-data/uploaded/?$|(tasks|projects)/\d+/(presign|resolve)/?$)"
)
# Pages and API: a request with the operator's token may change or reveal something.
_PAGE = re.compile(
    r"/(api|user|logout|projects|tasks|organization|people|admin|django-rq|feature-flags)(/|$)"
)
_MAX_DECODINGS = 3


def target_of(url: str, roots: Iterable[str]) -> str | None:
    """The target of a file of Label Studio.

    Args:
        url: a path (``/data/...``) or an http(s) URL.
        roots: the addresses of Label Studio, without a slash at the end.

    Returns:
        The target; None for the URL of another host. Below Label Studio's address may be other
        files too, which a proxy serves: their URLs are those of another host.

    Raises:
        HttpClientError: ``url`` is not a valid URL.
        LabelStudioError: a path that is no file of Label Studio, or a URL of its pages or its API.
    """
    if url.startswith("/") and not url.startswith("//"):
        parsed = _parsed(f"http://label-studio{url}")
        below: str | None = parsed.raw_path.decode()
    else:
        parsed = parse_url(url)
        below = _below(parsed, roots)
        if below is None:
            return None
    assert below is not None
    path, mark, query = below.partition("?")
    found = _FILE.search(path)
    if found is None and "://" in url and not _PAGE.match(path) and not _climbs(path):
        return None
    if found is None or _climbs(path):
        raise LabelStudioError(
            f"{redacted(parsed) if '://' in url else path[:200]} is not an image of Label Studio:"
            " its images lie below /data/, /tasks/ID/resolve/ and the like. If Label Studio"
            " redirects there, does it ask for a login?"
        )
    return f"{path[found.start() :]}{mark}{query}"


def _below(url: httpx.URL, roots: Iterable[str]) -> str | None:
    """The path and query of a URL below the root with the longest path; None below no root."""
    target = url.raw_path.decode()
    found = None
    for root in map(httpx.URL, roots):
        prefix = root.raw_path.decode().rstrip("/")
        if origin(root) == origin(url) and f"{target}/".startswith(f"{prefix}/"):
            rest = target[len(prefix) :]
            found = rest if found is None or len(rest) < len(found) else found
    return found


def _climbs(path: str) -> bool:
    """Whether a server may take a path for a path to another folder."""
    for _ in range(_MAX_DECODINGS):
        if ".." in re.split(r"[/\\]", path):
            return True
        path = unquote(path)
    return "%" in path and unquote(path) != path


def _parsed(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise HttpClientError(f"the image URL is not a valid URL: {error}") from error
