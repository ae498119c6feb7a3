"""The value that identifies an image between the task and the embedding."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backend.http.errors import HttpClientError
from backend.images.errors import ImageError
from backend.images.urls import STORAGES, normal_form


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
        """The name under which the embedding is kept: a hash of the URL's normal form.

        A signed URL has another key than the same URL without a signature: everybody may fetch the
        latter.

        Raises:
            ImageError: the URL is not valid.
        """
        form, is_signed = self._normal_form
        name = f"signed:{form}" if is_signed else form
        return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()

    @cached_property
    def needs_proof(self) -> bool:
        """Whether a task that has this URL may still not see the image.

        The URL of a storage says nothing about access, and the key leaves the signature of a signed
        URL out. Everybody who has any other URL can fetch the image.

        Raises:
            ImageError: the URL is not valid.
        """
        form, is_signed = self._normal_form
        return is_signed or form[:20].partition(":")[0] in STORAGES

    @cached_property
    def _normal_form(self) -> tuple[str, bool]:
        try:
            return normal_form(self.url)
        except HttpClientError as error:
            raise ImageError(str(error)) from error

    def __str__(self) -> str:
        """The name of the image in a list of failures."""
        return f"task {self.task_id}" if self.task_id is not None else self.url[:200]
