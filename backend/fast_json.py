"""JSON of requests and answers."""

from __future__ import annotations

import json
from typing import Any

import orjson
from flask.json.provider import JSONProvider
from werkzeug.exceptions import BadRequest


class FastJSON(JSONProvider):
    """Reads and writes JSON with orjson: old drafts have megabytes, and the RLE of a mask is long.

    orjson refuses NaN and half characters. Half an emoji such as "\\ud83d" remains when software
    cuts a text in two. Python's own reader and writer accept both, because one odd caption in a
    task must not cost the click.
    """

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """See :meth:`flask.json.provider.JSONProvider.dumps`."""
        try:
            return orjson.dumps(obj).decode()
        except TypeError:
            return json.dumps(obj)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """See :meth:`flask.json.provider.JSONProvider.loads`.

        Raises:
            BadRequest: it is not JSON.
        """
        try:
            return orjson.loads(s)
        except orjson.JSONDecodeError:
            return _loads(s)


def _loads(content: str | bytes) -> Any:
    try:
        return json.loads(content)
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
