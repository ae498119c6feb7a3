"""``data:`` URIs as browsers read them (WHATWG Fetch, data: URL processor)."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from backend.http.errors import HttpClientError

_IS_BASE64 = re.compile(r"; *base64\s*$", re.IGNORECASE)
_WHITESPACE = b"\t\n\x0c\r "


def content_of(uri: str) -> bytes:
    """The content of a data: URI.

    Raises:
        HttpClientError: the URI has no content, or is not valid base64.
    """
    header, comma, payload = uri.partition("#")[0].partition(",")
    if not comma:
        raise HttpClientError("the data: URI has no content, because it has no comma")
    content = unquote_to_bytes(payload.encode(errors="replace"))
    return _forgiving_base64(content) if _IS_BASE64.search(header) else content


def _forgiving_base64(data: bytes) -> bytes:
    """Decode base64 with white space and without padding (WHATWG Infra, forgiving-base64)."""
    data = data.translate(None, _WHITESPACE)
    if len(data) % 4 == 0:
        data = data.removesuffix(b"=").removesuffix(b"=")
    padding = b"=" * (-len(data) % 4)
    try:
        if b"=" in data or len(padding) == 3:
            raise binascii.Error("wrong length or padding")
        return base64.b64decode(data + padding, validate=True)
    except binascii.Error as error:
        raise HttpClientError(f"the data: URI is not valid base64 ({error})") from error
