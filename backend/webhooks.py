"""The bodies of webhooks without the drawn masks, which nobody here needs.

Webhooks need no password, so anybody may send long ones. Label Studio sends long ones too: an
annotation comes with all of its masks, and an import with all of its tasks, 500 bytes or more each.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

# Parsed JSON may need 20 times as much memory. 4 MiB are about 8,000 new tasks.
_PARSED_BYTES = 4 << 20
_DRAWN = re.compile(
    rb'"(rle|imageDataURL)"\s*+:\s*+'  # the brush's masks, the bitmask's masks
    rb'(?:\[[-\d.,\s]*+\]|"[^"\\]*+")'
)
# One long body at a time is in memory. The others wait in the files of the HTTP server.
_reading = threading.Lock()


def read(request: Request) -> bytes:
    """The body of a webhook as JSON. Drawn masks are replaced by null.

    Raises:
        RequestEntityTooLarge: the body is too long without its masks, too.
    """
    with _reading:
        body = _DRAWN.sub(rb'"\1":null', request.get_data(cache=False))
    if len(body) > _PARSED_BYTES:
        raise RequestEntityTooLarge(
            f"a webhook may have {_PARSED_BYTES >> 20} MiB without its drawn masks,"
            f" and this one has {len(body) >> 20}"
        )
    return body


def project_id(body: Mapping[str, Any]) -> int | None:
    """The project that an event is of; None where it names no project."""
    project = body.get("project")
    number = project.get("id") if isinstance(project, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None
