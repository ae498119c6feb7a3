"""The value that names an image everywhere between a task and its embedding."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backend.http.client import parse_url
from backend.http.errors import HttpClientError
from backend.images.errors import ImageError

# Query parameters that storage services sign URLs with: they change at every visit, the image
# they lead to does not. Lower case.
_SIGNATURE_PARAMETERS = ("awsaccesskeyid", "googleaccessid", "expires", "signature", "sig", "se")
_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-")


@dataclass(frozen=True)
class ImageRef:
    """An image of a task.

    Attributes:
        url: the URL as the task has it.
        task_id: the task, where its id is known.
        path: a file to read in the place of the URL; the embedding is kept under the URL.
    """

    url: str
    task_id: int | None = None
    path: Path | None = None

    @cached_property
    def key(self) -> str:
        """The name that the embedding is kept under: a hash of the URL without its signature.

        Raises:
            ImageError: the URL is not valid.
        """
        url = self.url
        if url.startswith(("http://", "https://")):
            url = _without_signature(url)
        return hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()

    def __str__(self) -> str:
        """What a list of failures calls the image."""
        return f"task {self.task_id}" if self.task_id is not None else self.url[:200]


def _without_signature(url: str) -> str:
    try:
        parsed = parse_url(url)
    except HttpClientError as error:
        raise ImageError(str(error)) from error
    for name in list(parsed.params):
        if name.lower() in _SIGNATURE_PARAMETERS or name.lower().startswith(_SIGNATURE_PREFIXES):
            parsed = parsed.copy_remove_param(name)
    return str(parsed)
