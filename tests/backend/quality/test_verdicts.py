"""What became of suggestions, by the regions of the annotation that was submitted."""

from typing import Any

import numpy as np
import pytest

from backend.quality.suggestion import Suggestion
from backend.quality.verdicts import Verdict, judge
from backend.regions.errors import MalformedRequestError
from model.formats import brush_rle

SIZE = (40, 60)


def mask(columns: int) -> np.ndarray:
    """The first columns of rows 10 to 19."""
    drawn = np.zeros(SIZE, bool)
    drawn[10:20, :columns] = True
    return drawn


def region(region_id: str, kind: str, value: dict[str, Any], label: str = "A") -> dict[str, Any]:
    return {
        "id": region_id,
        "type": f"{kind}labels",
        "from_name": "tag",
        "to_name": "image",
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        "value": {**value, f"{kind}labels": [label]},
    }


def brush(region_id: str, columns: int = 20, label: str = "A") -> dict[str, Any]:
    value = {"format": "rle", "rle": brush_rle.encode(mask(columns))}
    return region(region_id, "brush", value, label)


def polygon(region_id: str, left: float, right: float) -> dict[str, Any]:
    points = [[left, 25], [right, 25], [right, 50], [left, 50]]
    return region(region_id, "polygon", {"points": points})


def shown(prompt: str, *regions: dict[str, Any], clicks: int = 1, at: float = 0) -> Suggestion:
    return Suggestion(prompt, clicks, "v1", at, list(regions))


def test_a_mask_that_is_submitted_as_it_was_is_accepted() -> None:
    verdicts = judge([shown("p", brush("a"), clicks=3)], [brush("other", 50), brush("a")])
    assert verdicts == [Verdict("v1", 3, "accepted", 1.0)]


def test_another_label_is_no_correction() -> None:
    (verdict,) = judge([shown("p", brush("a"))], [brush("a", label="B")])
    assert verdict.outcome == "accepted"


def test_a_mask_that_was_changed_is_corrected() -> None:
    (verdict,) = judge([shown("p", brush("a", 20))], [brush("a", 25)])
    assert verdict == Verdict("v1", 1, "corrected", pytest.approx(0.8))


def test_rounding_is_no_correction() -> None:
    (verdict,) = judge([shown("p", polygon("a", 10, 50))], [polygon("a", 10.000001, 50)])
    assert verdict.outcome == "accepted"


def test_a_mask_that_is_not_submitted_is_rejected() -> None:
    assert judge([shown("p", brush("a"))], []) == [Verdict("v1", 1, "rejected", None)]


def test_of_the_suggestions_for_an_object_the_accepted_one_counts() -> None:
    suggestions = [shown("p", brush(str(n), n), clicks=n, at=n) for n in (3, 1, 2)]
    assert judge(suggestions, [brush("2", 2)]) == [Verdict("v1", 2, "accepted", 1.0)]


def test_of_the_suggestions_for_an_object_that_is_rejected_the_last_one_counts() -> None:
    suggestions = [shown("p", brush(str(n), n), clicks=n, at=n) for n in (3, 1, 2)]
    assert judge(suggestions, []) == [Verdict("v1", 3, "rejected", None)]


def test_the_parts_of_an_object_are_judged_together() -> None:
    parts = polygon("a", 0, 20), polygon("b", 50, 70)
    (same,) = judge([shown("p", *parts)], list(parts[::-1]))
    (less,) = judge([shown("p", *parts)], [parts[0]])
    assert same.outcome == "accepted"
    assert less == Verdict("v1", 1, "corrected", pytest.approx(0.5))


def test_a_damaged_mask_is_corrected_by_an_unknown_amount() -> None:
    broken = brush("a")
    broken["value"]["rle"] = [1, 2, 3]
    assert judge([shown("p", brush("a"))], [broken]) == [Verdict("v1", 1, "corrected", None)]


def test_an_annotation_that_label_studio_did_not_write() -> None:
    with pytest.raises(MalformedRequestError):
        judge([], ["nothing"])


def test_a_suggestion_comes_back_as_it_was() -> None:
    suggestion = shown("p", brush("a"), clicks=2, at=1.5)
    assert Suggestion.loads(suggestion.dumps()) == suggestion


@pytest.mark.parametrize("data", [b"", b"noise", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_noise_is_no_suggestion(data: bytes) -> None:
    with pytest.raises(ValueError, match="it is no suggestion"):
        Suggestion.loads(data)
