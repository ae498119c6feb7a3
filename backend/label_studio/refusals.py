"""What an error of Label Studio's API means, in a sentence for people."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import httpx

# How to let Label Studio call a backend at a private address.
ALLOW_PRIVATE_ADDRESSES = (
    "start Label Studio with USE_DEFAULT_BANNED_SUBNETS=false together with"
    " USER_ADDITIONAL_BANNED_SUBNETS (docs/operations.md, What Label Studio has to allow)"
)
_PRIVATE_ADDRESS = "reserved network address"  # Label Studio's words
_LARGEST_SENTENCE = 500  # characters of Label Studio's words
_OF_NO_FIELD = "non_field_errors"
_TAG = re.compile(r"<[^<>]+>")
_PROJECT = re.compile(r"/api/projects/(\d+)/")


def words(body: str) -> str:
    """Label Studio's own words about an error, with the remedy where it is known.

    Args:
        body: of the answer. Label Studio sends JSON with ``detail``, and with
            ``validation_errors`` where it refuses values. Any other text is taken as it is.
    """
    said = textwrap.shorten(_TAG.sub("", _said(body)), _LARGEST_SENTENCE, placeholder=" ...")
    return f"{said}: {ALLOW_PRIVATE_ADDRESSES}" if _PRIVATE_ADDRESS in said else said


def missing(path: str, parameters: httpx.QueryParams) -> str:
    """What 404 means.

    Args:
        path: what was asked for, below the address of Label Studio.
        parameters: of the query.
    """
    in_path = _PROJECT.fullmatch(path)
    project_id = in_path[1] if in_path else parameters.get("project")
    thing = path if project_id is None else f"project {project_id}"
    return f"Label Studio has no {thing}, or the user of the token may not see it"


def _said(body: str) -> str:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(fields, dict):
        return str(fields)
    detail = fields.get("detail")
    errors = list(_sentences(fields.get("validation_errors") or []))
    parts = [str(detail)] if detail else []
    return ": ".join([*parts, "; ".join(errors)] if errors else parts) or body


def _sentences(errors: Any, field: str = "") -> Iterator[str]:
    """The sentences of validation errors, each after the name of its field."""
    if isinstance(errors, dict):
        for name, inner in errors.items():
            yield from _sentences(inner, "" if name == _OF_NO_FIELD else f"{name}: ")
    elif isinstance(errors, list):
        for inner in errors:
            yield from _sentences(inner, field)
    else:
        yield f"{field}{errors}"
