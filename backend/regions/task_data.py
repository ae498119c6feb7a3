"""What a value of the labeling config, such as "$image", stands for in a task's data."""

from __future__ import annotations

import re
from typing import Any

_VARIABLE = re.compile(r"\$([\w.\[\]]+)")


def resolved(value: str, data: Any) -> Any:
    """What "$image", "$photos[0].url" or "https://host/$file" stands for.

    Returns:
        The field itself where the value is nothing else, which may be a list; else a text. None
        where the data has not every field.
    """
    whole = _VARIABLE.fullmatch(value)
    if whole:
        return looked_up(data, whole[1])
    if any(looked_up(data, match[1]) is None for match in _VARIABLE.finditer(value)):
        return None
    return _VARIABLE.sub(lambda match: str(looked_up(data, match[1])), value)


def looked_up(data: Any, path: str) -> Any:
    """The field behind a path such as "photos[0].url"; None where there is none."""
    if isinstance(data, dict) and path in data:
        return data[path]
    for step in path.replace("[", ".").replace("]", "").split("."):
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and step.isdecimal() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data
