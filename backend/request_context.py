"""Which request a thread works on: every line of the log names the request."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)

_fields: ContextVar[Mapping[str, str | int]] = ContextVar("request", default={})  # noqa: B039


def begin(given_id: str | None) -> str:
    """Begin a request.

    Args:
        given_id: the id that the caller or a proxy has given to the request, or None.

    Returns:
        The id of the request: the given id, or a new id where the given id cannot be used.
    """
    is_usable = given_id is not None and _ID.fullmatch(given_id)
    request_id = given_id if given_id and is_usable else secrets.token_hex(8)
    _fields.set({"request_id": request_id})
    return request_id


def note(**fields: str | int | None) -> None:
    """Note more of the request, such as its task."""
    _fields.set({**_fields.get(), **{k: v for k, v in fields.items() if v is not None}})


def end() -> None:
    """End the request."""
    _fields.set({})


def fields() -> Mapping[str, str | int]:
    """``request_id``, and what :func:`note` noted. Empty where the thread works on no request."""
    return _fields.get()
