"""Fetches an image from a web server, within limits of time and size."""

from __future__ import annotations

import time

MAX_BYTES = 256 * 1024**2
TOTAL_TIMEOUT_S = 60.0
_STEP_TIMEOUT_S = 10.0  # to connect, and to wait for the next bytes
_MAX_REDIRECTS = 5


def is_url(text: str) -> bool:
    """Whether a source is a URL and no path. Windows' drive letters are no schemes."""
    return "://" in text


def fetch(url: str, *, max_bytes: int = MAX_BYTES, timeout_s: float = TOTAL_TIMEOUT_S) -> bytes:
    """Fetch a file over http or https.

    Args:
        url: where the file is.
        max_bytes: a longer answer is refused.
        timeout_s: until the last byte is there, seconds. It is looked at whenever bytes arrive.

    Raises:
        ValueError: the URL is of another scheme, the file is too long, or it takes too long.
        OSError: the server does not answer, or answers with an error.
    """
    import httpx

    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{url} cannot be fetched: a URL must begin with http:// or https://")
    deadline = time.monotonic() + timeout_s
    content = bytearray()
    try:
        with (
            httpx.Client(
                timeout=min(_STEP_TIMEOUT_S, timeout_s),
                follow_redirects=True,
                max_redirects=_MAX_REDIRECTS,
                headers={"Accept-Encoding": "identity"},
            ) as client,
            client.stream("GET", url) as response,
        ):
            response.raise_for_status()
            # Raw: an answer that is compressed all the same must not grow beyond the limit.
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > max_bytes:
                    raise ValueError(f"{url} is longer than {max_bytes / 1e6:.0f} MB")
                if time.monotonic() > deadline:
                    raise ValueError(f"{url} took longer than {timeout_s:.0f} seconds")
    except httpx.HTTPStatusError as error:
        raise OSError(f"{url} was answered with status {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(f"{url} cannot be fetched: {error or type(error).__name__}") from error
    return bytes(content)
