"""Which boxes of a task become masks."""

from typing import Any

import pytest

from backend.predictions.boxes import ANNOTATIONS, PREDICTIONS, boxes_of, is_own, model_version
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig

CONFIG = LabelingConfig.parse(
    """<View>
      <Image name="image" value="$picture"/>
      <BrushLabels name="brush" toName="image" smart="false">
        <Label value="Cat" alias="cat"/><Label value="Dog"/>
      </BrushLabels>
      <RectangleLabels name="box" toName="image">
        <Label value="Cat" alias="cat"/><Label value="Dog"/>
      </RectangleLabels>
    </View>"""
)


def box(x: float, label: str = "Dog", **item: Any) -> dict[str, Any]:
    value = {"x": x, "y": 10, "width": 20, "height": 30, "rectanglelabels": [label]}
    return {
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "value": value,
        **item,
    }


def prediction(number: int, version: str | None, *regions: Any) -> dict[str, Any]:
    return {"id": number, "model_version": version, "result": list(regions)}


def annotation(changed: str, *regions: Any, **fields: Any) -> dict[str, Any]:
    return {"updated_at": changed, "result": list(regions), **fields}


def lefts(task: dict[str, Any], source: str, *labels: str) -> list[float]:
    """Where the boxes of a task begin, percent of the image."""
    found = boxes_of({"data": {"picture": "/a.png"}, **task}, source, CONFIG, labels)
    return [one.rectangle[0] for one in found if one.rectangle is not None]


MASK = {"from_name": "brush", "to_name": "image", "type": "brushlabels", "value": {"rle": [1]}}


@pytest.mark.parametrize(
    ("predictions", "source", "found"),
    [
        pytest.param(
            [prediction(1, "yolo", box(1)), prediction(2, "yolo", box(2), box(3))],
            PREDICTIONS,
            [2, 3],
            id="the newest",
        ),
        pytest.param(
            [prediction(1, "yolo", box(1)), prediction(2, "brush model", MASK)],
            PREDICTIONS,
            [1],
            id="the newest with boxes",
        ),
        pytest.param(
            [prediction(1, "yolo", box(1)), prediction(2, "mobile-sam-0123 boxes", box(2))],
            PREDICTIONS,
            [1],
            id="never our own",
        ),
        pytest.param(
            [prediction(1, "yolo", box(1)), prediction(2, "detr", box(2))],
            "yolo",
            [1],
            id="a model_version",
        ),
        pytest.param([prediction(1, None, box(1))], PREDICTIONS, [1], id="no model_version"),
        pytest.param([], PREDICTIONS, [], id="no predictions"),
        pytest.param([prediction(1, "yolo", MASK)], PREDICTIONS, [], id="no boxes"),
    ],
)
def test_one_prediction_counts(
    predictions: list[dict[str, Any]], source: str, found: list[float]
) -> None:
    assert lefts({"predictions": predictions}, source) == found


def test_the_ground_truth_counts_else_the_last_annotation() -> None:
    first = annotation("2026-01-01T00:00:00Z", box(1))
    last = annotation("2026-01-02T00:00:00Z", box(2))
    skipped = annotation("2026-01-03T00:00:00Z", box(3), was_cancelled=True)
    assert lefts({"annotations": [last, skipped, first]}, ANNOTATIONS) == [2]
    first["ground_truth"] = True
    assert lefts({"annotations": [last, skipped, first]}, ANNOTATIONS) == [1]


def test_labels_are_chosen_by_value_or_alias() -> None:
    task = {"predictions": [prediction(1, "yolo", box(1, "cat"), box(2, "Dog"), box(3, "Cat"))]}
    assert lefts(task, PREDICTIONS, "Cat") == [1, 3]
    assert lefts(task, PREDICTIONS, "cat", "Dog") == [1, 2, 3]
    assert lefts(task, PREDICTIONS, "Bird") == []


def test_the_size_counts_only_where_the_editor_tells_it() -> None:
    """Other models may tell the size of their own copy of the image."""
    sized = box(1, original_width=640, original_height=480)
    task = {
        "data": {"picture": "/a.png"},
        "predictions": [prediction(1, "yolo", sized)],
        "annotations": [annotation("2026-01-01T00:00:00Z", sized)],
    }
    (predicted,) = boxes_of(task, PREDICTIONS, CONFIG)
    (annotated,) = boxes_of(task, ANNOTATIONS, CONFIG)
    assert (predicted.reported_size, annotated.reported_size) == (None, (480, 640))


@pytest.mark.parametrize(
    ("region", "error", "sentence"),
    [
        pytest.param(
            box(1, from_name="boxes"),
            UnanswerableRequestError,
            'no control tag "boxes", the from_name of a box: rename the tag',
            id="unknown-tag",
        ),
        pytest.param(box(1, to_name=None), MalformedRequestError, "a to_name", id="no-image"),
        pytest.param(
            box(1, value={"x": 1, "y": 1, "width": "2", "height": 1}),
            MalformedRequestError,
            "width of a region must be a number",
            id="no-number",
        ),
    ],
)
def test_a_box_that_is_not_understood(
    region: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        lefts({"predictions": [prediction(1, "yolo", region)]}, PREDICTIONS)


def test_our_own_predictions_are_known_by_their_names() -> None:
    assert is_own(model_version("mobile-sam", "boxes"))
    assert is_own(model_version("mobile-sam-builtin", "everything"))
    for other in ("mobile-sam", "yolo boxes", "boxes", None, ""):
        assert not is_own(other)
