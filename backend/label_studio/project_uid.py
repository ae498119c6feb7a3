"""How Label Studio names a project to a backend."""

from __future__ import annotations

import re
from typing import Any

_UID = re.compile(r"([0-9]{1,18})(\.[0-9]+)?")


def project_id(uid: Any) -> int | None:
    """The id of a project in the name of the project; None where that is no such name.

    Args:
        uid: ``"7.1795392040"``, the id and the time of the project's creation, seconds since the
            epoch. The id alone is allowed too.
    """
    found = _UID.fullmatch(uid) if isinstance(uid, str) else None
    return int(found[1]) if found else None
