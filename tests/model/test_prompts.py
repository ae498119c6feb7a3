"""Points, labels, boxes and masks as people write them."""

from typing import Any

import numpy as np
import pytest

from model import prompts
from model.types import PADDING

SIZE = (60, 80)
LOW_RES = 128
LOGITS = np.zeros((LOW_RES, LOW_RES), np.float32)


def objects(**given: Any) -> list[tuple[list[list[float]], list[int]]]:
    """(points, labels) of each object."""
    parts = ("points", "labels", "bboxes", "masks")
    parsed = prompts.parse(*(given.get(part) for part in parts))
    assert parsed is not None
    placed = prompts.place(parsed, SIZE, LOW_RES)
    return [(one.point_coords.tolist(), one.point_labels.tolist()) for one in placed]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"points": [7, 5]}, [([[7, 5]], [1])], id="point"),
        pytest.param({"points": [7, 5], "labels": [1]}, [([[7, 5]], [1])], id="point-label"),
        pytest.param({"points": [7, 5], "labels": 1}, [([[7, 5]], [1])], id="point-number"),
        pytest.param(
            {"points": [[7, 5], [9, 3]], "labels": [1, 1]},
            [([[7, 5]], [1]), ([[9, 3]], [1])],
            id="two-objects",
        ),
        pytest.param(
            {"points": np.array([[7, 5], [9, 3]])},
            [([[7, 5]], [1]), ([[9, 3]], [1])],
            id="array",
        ),
        pytest.param(
            {"points": [[[7, 5], [9, 3]]], "labels": [[1, 0]]},
            [([[7, 5], [9, 3]], [1, 0])],
            id="two-points-of-one-object",
        ),
        pytest.param(
            {"points": [[[7, 5], [9, 3]], [[1, 2]]], "labels": [[1, 0], [1]]},
            [([[7, 5], [9, 3]], [1, 0]), ([[1, 2]], [1])],
            id="objects-with-different-numbers-of-points",
        ),
        pytest.param(
            {"bboxes": [30, 40, 10, 20]}, [([[10, 20], [30, 40]], [2, 3])], id="box-other-corners"
        ),
        pytest.param(
            {"bboxes": np.array([[1, 2, 3, 4], [5, 6, 7, 8]])},
            [([[1, 2], [3, 4]], [2, 3]), ([[5, 6], [7, 8]], [2, 3])],
            id="boxes",
        ),
        pytest.param(
            {"bboxes": [[1, 2, 30, 40]], "points": [7, 5], "labels": [0]},
            [([[7, 5], [1, 2], [30, 40]], [0, 2, 3])],
            id="box-with-a-point",
        ),
        pytest.param(
            {"bboxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "points": [[[2, 3]], []]},
            [([[2, 3], [1, 2], [3, 4]], [1, 2, 3]), ([[5, 6], [7, 8]], [2, 3])],
            id="points-for-one-of-two-boxes",
        ),
        pytest.param({"bboxes": []}, [], id="no-boxes"),
        pytest.param({"points": []}, [], id="no-points"),
    ],
)
def test_one_prompt_for_each_object(given: dict[str, Any], expected: list[Any]) -> None:
    assert objects(**given) == expected


def test_nothing_at_all_is_no_prompt() -> None:
    assert prompts.parse(None, None, None, None) is None


def test_a_box_is_cut_at_the_edges_of_the_image() -> None:
    assert objects(bboxes=[-3, -0.5, 90, 59]) == [([[0, 0], [80, 59]], [2, 3])]


def test_masks_go_with_points_or_stand_alone() -> None:
    (refined,) = prompts.parse([7, 5], None, None, LOGITS) or ()
    assert refined.mask_input is not None
    assert refined.point_labels.tolist() == [1]
    first, second = prompts.parse(None, None, None, np.stack([LOGITS, LOGITS])) or ()
    assert first.point_labels.tolist() == second.point_labels.tolist() == [PADDING]
    assert first.mask_input is not None
    prompts.place([first, second], SIZE, LOW_RES)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param({"points": [1, 2, 3]}, "points must have 2 numbers each", id="triple"),
        pytest.param({"points": 7}, "points must be", id="number"),
        pytest.param({"points": "7,5"}, "points must be", id="text"),
        pytest.param({"points": [["a", 5]]}, "points must have 2 numbers each", id="letters"),
        pytest.param({"points": [[[[7, 5]]]]}, "points must be", id="nested-too-deep"),
        pytest.param({"points": [[1, 2], [3]]}, "points must have 2 numbers each", id="ragged"),
        pytest.param({"points": [1, float("nan")]}, "points must be finite", id="nan"),
        pytest.param({"points": [1, float("inf")]}, "points must be finite", id="infinite"),
        pytest.param({"points": [81, 5]}, "point (81, 5) of object 1 is outside", id="outside"),
        pytest.param({"points": [5, -1]}, "80 x 60 pixels", id="negative"),
        pytest.param({"labels": [1]}, "labels need points", id="labels-alone"),
        pytest.param(
            {"points": [[1, 2], [3, 4]], "labels": [1]}, "points for 2 objects", id="labels-missing"
        ),
        pytest.param(
            {"points": [[[1, 2], [3, 4]]], "labels": [1, 0]}, "nested as points", id="labels-flat"
        ),
        pytest.param({"points": [1, 2], "labels": [2]}, "labels must be 1", id="label-2"),
        pytest.param({"points": [1, 2], "labels": [0.5]}, "labels must be 1", id="label-half"),
        pytest.param(
            {"points": [1, 2], "labels": [0]}, "needs a point with label 1", id="negative"
        ),
        pytest.param({"points": [[[1, 2]], []]}, "object 2 needs a point", id="no-points"),
        pytest.param({"bboxes": [1, 2, 3]}, "bboxes must have 4 numbers", id="box-3"),
        pytest.param({"bboxes": [1, 2, 1, 4]}, "box 1 has no area", id="flat-box"),
        pytest.param({"bboxes": [1, 2, 3, float("nan")]}, "bboxes must be finite", id="box-nan"),
        pytest.param({"bboxes": [90, 2, 99, 4]}, "box of object 1 is outside", id="box-outside"),
        pytest.param(
            {"bboxes": [[1, 2, 3, 4]], "points": [[1, 2], [3, 4]]},
            "2 of points, 1 of bboxes",
            id="counts",
        ),
        pytest.param({"masks": np.zeros((64, 64))}, "must be 128 x 128 logits", id="mask-size"),
        pytest.param({"masks": np.zeros((60, 80), bool)}, "masks must be logits", id="mask-bool"),
        pytest.param({"masks": np.full_like(LOGITS, np.nan)}, "masks must be finite", id="m-nan"),
    ],
)
def test_mistakes_get_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as raised:
        objects(**given)
    assert sentence in str(raised.value)
