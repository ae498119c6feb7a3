"""What became of suggestions, as a submitted annotation shows it.

Label Studio 1.23 keeps the id of a region that an annotator accepts, also where the annotator
changes its mask afterwards. Nothing else tells such a region from others: ``origin`` is ``manual``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from backend.quality.suggestion import Suggestion
from backend.regions.errors import MalformedRequestError
from backend.regions.region_masks import Region, read_regions
from model.formats.polygons import Mask

Outcome = Literal["accepted", "corrected", "rejected"]

# From this IoU on, a mask counts as accepted as it was: the editor rounds coordinates.
_SAME_IOU = 0.99
_LARGEST_IMAGE = 1 << 26  # pixels; the masks of larger images are not compared


@dataclass(frozen=True)
class Verdict:
    """What became of the suggestions for one object.

    Attributes:
        version: the decoder of the suggestion; see :class:`Suggestion`.
        clicks: the number of clicks that led to the suggestion.
        outcome: what the annotator did with the suggestion.
        iou: of the suggested mask and the submitted mask, 0 to 1; None where nothing was submitted,
            or where the masks cannot be compared.
    """

    version: str
    clicks: int
    outcome: Outcome
    iou: float | None


def judge(suggestions: Iterable[Suggestion], result: Sequence[Any]) -> list[Verdict]:
    """Compare the suggestions of a task with an annotation.

    Of several suggestions for one object, those that were accepted count, or else the last.

    Args:
        suggestions: of one task.
        result: the ``result`` of the annotation.

    Raises:
        MalformedRequestError: an item of the annotation is not as Label Studio writes it.
    """
    submitted: dict[str, list[Region]] = {}
    for region in read_regions(result):
        submitted.setdefault(region.region_id, []).append(region)
    of_object: dict[str, list[Suggestion]] = {}
    for suggestion in sorted(suggestions, key=lambda suggestion: suggestion.shown_at):
        of_object.setdefault(suggestion.prompt_id, []).append(suggestion)
    verdicts = []
    for shown in of_object.values():
        kept = [suggestion for suggestion in shown if suggestion.region_ids & submitted.keys()]
        verdicts += [_verdict(suggestion, submitted) for suggestion in kept or shown[-1:]]
    return verdicts


def _verdict(suggestion: Suggestion, submitted: Mapping[str, list[Region]]) -> Verdict:
    drawn = [region for key in suggestion.region_ids for region in submitted.get(key, [])]
    if not drawn:
        return Verdict(suggestion.version, suggestion.clicks, "rejected", None)
    iou = _iou(read_regions(suggestion.regions), drawn)
    is_same = iou is not None and iou >= _SAME_IOU
    outcome: Outcome = "accepted" if is_same else "corrected"
    return Verdict(suggestion.version, suggestion.clicks, outcome, iou)


def _iou(shown: Sequence[Region], drawn: Sequence[Region]) -> float | None:
    if [region.value for region in shown] == [region.value for region in drawn]:
        return 1.0
    size = shown[0].original_size
    if size is None or size[0] * size[1] > _LARGEST_IMAGE:
        return None
    try:
        one, other = _union(shown, size), _union(drawn, size)
    except MalformedRequestError:
        return None
    either = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / either if either else 1.0


def _union(regions: Sequence[Region], size: tuple[int, int]) -> Mask:
    """The mask of all regions, H x W."""
    union = np.zeros(size, dtype=np.bool_)
    for region in regions:
        union |= region.mask(size)
    return union
