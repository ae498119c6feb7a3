"""The value that identifies an image between the task and the embedding."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backend.http.client import parse_url
from backend.http.errors import HttpClientError
from backend.images.errors import ImageError

# Query parameters with which storage services sign URLs. They change at every visit; the image does
# not. Lower case.
_SIGNATURE_PARAMETERS = ("awsaccesskeyid", "googleaccessid", "expires", "signature", "sig", "se")
STORAGES = ("s3", "gs", "azure-blob")
_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-")


@dataclass(frozen=True)
class ImageRef:
    """An image of a task.

    Attributes:
        url: the URL as the task has it.
        task_id: the id of the task, or None.
        path: a file to read instead of the URL. The embedding is kept under the URL.
    """

    url: str
    task_id: int | None = None
    path: Path | None = None

    @cached_property
    def key(self) -> str:
        """The name under which the embedding is kept: a hash of the URL without its signature.

        Raises:
            ImageError: the URL is not valid.
        """
        url = self.url
        if url.startswith(("http://", "https://")):
            url = _without_signature(url)
            if self.needs_proof:  # what everybody can fetch has a key of its own
                url = f"signed:{url}"
        return hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()

    @property
    def needs_proof(self) -> bool:
        """Whether a task that has this URL may still not see the image.

        The URL of a storage says nothing about access, and the key leaves the signature of a signed
        URL out. Everybody who has any other URL can fetch the image.
        """
        scheme = self.url.partition(":")[0].lower()
        if scheme in ("http", "https"):
            return _without_signature(self.url) != str(parse_url(self.url))
        return scheme in STORAGES

    def __str__(self) -> str:
        """The name of the image in a list of failures."""
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
