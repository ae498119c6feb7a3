"""A suggestion: a mask that was shown to an annotator."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_LARGEST = 32 << 20  # bytes of JSON; the mask of an image of 12 million pixels has 0.1 million
_FAST = 1


@dataclass(frozen=True)
class Suggestion:
    """A mask that was shown to an annotator.

    Attributes:
        prompt_id: Label Studio's id of the first point, or of the box. The suggestions of further
            clicks on the same object have the same prompt.
        clicks: the number of points and boxes that the suggestion answers.
        version: the decoder that answered: ``base``, or ``v3`` of the project.
        shown_at: seconds since the epoch.
        regions: the mask as Label Studio's regions.
    """

    prompt_id: str
    clicks: int
    version: str
    shown_at: float
    regions: list[Mapping[str, Any]] = field(repr=False)

    def dumps(self) -> bytes:
        """The suggestion as compressed JSON: some kilobytes."""
        # orjson reads the dataclass; dataclasses.asdict would copy each number of the RLE.
        return zlib.compress(orjson.dumps(self), _FAST)

    @classmethod
    def loads(cls, data: bytes) -> Suggestion:
        """Read what :meth:`dumps` wrote.

        Raises:
            ValueError: the bytes are something else.
        """
        try:
            text = zlib.decompressobj().decompress(data, _LARGEST)
            suggestion = cls(**orjson.loads(text))
            ids = suggestion.region_ids
        except (zlib.error, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"it is no suggestion ({error!r})") from error
        if not ids or not isinstance(suggestion.clicks, int):
            raise ValueError("it is no suggestion: a field has the wrong type")
        return suggestion

    @property
    def region_ids(self) -> set[str]:
        """The ids of the regions. Label Studio keeps the ids of regions that are accepted."""
        return {str(region.get("id")) for region in self.regions}
