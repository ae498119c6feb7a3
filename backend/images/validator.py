"""The proof that the file behind a URL is still the file that was encoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

# A file may change twice in a second, and Last-Modified counts whole seconds. So a file that was
# modified just before it was sent has no reliable Last-Modified (RFC 9110, 8.8.2.2).
_YOUNG_S = 2.0


@dataclass(frozen=True)
class Validator:
    """What is known of a version of a file. Every attribute may be unknown.

    Attributes:
        sha256: of the content, hexadecimal, or empty.
        size: bytes, or None.
        stamp: a kind, a colon and a value that changes with the file: ``etag:"5f3"``,
            ``modified:Wed, 21 Oct 2015 07:28:00 GMT``, ``file:1445412480000000000``, or empty.
    """

    sha256: str = ""
    size: int | None = None
    stamp: str = ""

    @classmethod
    def of_headers(cls, headers: httpx.Headers, content: bytes | None = None) -> Validator:
        """The validator of a response.

        Args:
            headers: of the response.
            content: the whole body, where that was read.
        """
        length = headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() and len(length) < 20 else None
        if content is not None:
            size = len(content)
        return cls(_sha256(content), size, _stamp(headers))

    @classmethod
    def of_file(cls, status: os.stat_result, content: bytes | None = None) -> Validator:
        """The validator of a file of this machine."""
        return cls(_sha256(content), status.st_size, f"file:{status.st_mtime_ns}")

    @classmethod
    def parse(cls, text: str) -> Validator:
        """The validator that :meth:`__str__` has written."""
        sha256, _, rest = text.partition(" ")
        size, _, stamp = rest.partition(" ")
        return cls(sha256, int(size) if size.isdecimal() else None, stamp)

    def __str__(self) -> str:
        """The validator as a line of text."""
        return f"{self.sha256} {'' if self.size is None else self.size} {self.stamp}"

    def is_same_file(self, other: Validator) -> bool | None:
        """Whether both are of the same version of a file; None if that is unknown."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.stamp and self.stamp == other.stamp:
            return True
        kind = self.stamp.partition(":")[0]
        return False if kind and kind == other.stamp.partition(":")[0] else None

    def conditions(self) -> Mapping[str, str]:
        """The headers that ask a host for the file only if it has changed."""
        kind, _, value = self.stamp.partition(":")
        header = {"etag": "If-None-Match", "modified": "If-Modified-Since"}.get(kind)
        return {header: value} if header else {}


def _sha256(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()


def _stamp(headers: httpx.Headers) -> str:
    etag, modified = headers.get("ETag"), headers.get("Last-Modified")
    if etag and etag.isprintable():
        return f"etag:{etag}"
    if not modified or not modified.isprintable():
        return ""
    try:
        age = parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(modified)
    except (KeyError, ValueError, TypeError, OverflowError):
        return ""
    return f"modified:{modified}" if age.total_seconds() >= _YOUNG_S else ""
