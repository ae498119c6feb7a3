"""What is learnt of annotations as Label Studio's API gives them."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from backend.embeddings.segmenter import Segmenter
from backend.regions.labeling_config import LabelingConfig
from model.formats import brush_rle
from training.learning.annotations import Annotated, read_annotations, snapshot
from training.learning.pictures import Origin

CONFIG = LabelingConfig.parse(
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">'
    '<Label value="Cat"/><Label value="Dog"/></BrushLabels></View>'
)
WIDTH, HEIGHT = 60, 40
ANYWHERE = cast(Segmenter, SimpleNamespace(embed=int, embed_crop=int))  # embeds nothing


def mask(left: int) -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), dtype=bool)
    found[10:30, left : left + 20] = True
    return found


def brush(left: int = 10, label: str = "Cat", **fields: Any) -> dict[str, Any]:
    return {
        "id": "abc", "type": "brushlabels", "from_name": "brush", "to_name": "image",
        "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
        "value": {"format": "rle", "rle": brush_rle.encode(mask(left)), "brushlabels": [label]},
        "origin": "manual", **fields,
    }  # fmt: skip


def task(*result: dict[str, Any], **fields: Any) -> dict[str, Any]:
    annotation = {"id": 1, "was_cancelled": False, "result": list(result)}
    return {
        "id": 7, "data": {"image": "/data/upload/1/a.png"}, "annotations": [annotation],
        "predictions": [], **fields,
    }  # fmt: skip


def read(*tasks: dict[str, Any]) -> Annotated:
    return read_annotations(snapshot(tasks), CONFIG, ANYWHERE)


def test_a_brush_is_an_object_of_its_image() -> None:
    annotated = read(task(brush(), brush(35, id="second")))
    (picture,) = annotated.pictures
    assert (picture.task_id, annotated.tasks, annotated.objects) == (7, 1, 2)
    assert [one.mask.tolist() for one in picture.objects] == [mask(10).tolist(), mask(35).tolist()]


def predicted(**fields: Any) -> list[dict[str, Any]]:
    return [{"id": 3, "result": [brush(**fields)]}]


@pytest.mark.parametrize(
    ("region", "predictions", "origin"),
    [
        pytest.param(brush(), [], Origin.MANUAL, id="drawn"),
        pytest.param(brush(score=0.97), [], Origin.CLICKED, id="a suggestion that was accepted"),
        pytest.param(brush(origin="prediction"), [], Origin.ACCEPTED, id="submitted as predicted"),
        pytest.param(
            brush(origin="prediction-changed", score=0.9), [], Origin.CORRECTED, id="changed"
        ),
        pytest.param(brush(), predicted(), Origin.ACCEPTED, id="the prediction's mask"),
        pytest.param(
            brush(12, origin="prediction"), predicted(), Origin.CORRECTED, id="another mask"
        ),
        pytest.param(
            brush(label="Dog"), predicted(), Origin.ACCEPTED, id="another label, the same mask"
        ),
        pytest.param(brush(), predicted(id="other"), Origin.MANUAL, id="another prediction"),
    ],
)
def test_how_a_mask_came_about(
    region: dict[str, Any], predictions: list[dict[str, Any]], origin: Origin
) -> None:
    annotated = read(task(region, predictions=predictions))
    assert annotated.origins == {origin: 1}


def test_a_region_without_an_id_is_learnt_too() -> None:
    drawn, suggestion = brush(origin="prediction"), brush(12)
    del drawn["id"], suggestion["id"]
    annotated = read(task(drawn, predictions=[{"id": 3, "result": [suggestion]}]))
    assert annotated.origins == {Origin.ACCEPTED: 1}


def test_cancelled_annotations_do_not_count() -> None:
    cancelled = {"id": 1, "was_cancelled": True, "result": [brush()]}
    assert read(task(annotations=[cancelled])).objects == 0


def test_ground_truth_counts_before_the_newest_annotation() -> None:
    first, second, third = (
        {
            "id": number,
            "was_cancelled": False,
            "ground_truth": is_truth,
            "updated_at": f"2026-01-0{number}T00:00:00Z",
            "result": [brush()] * (number - 1) + [brush(0, id=f"last {number}")],
        }
        for number, is_truth in ((1, True), (2, False), (3, False))
    )
    assert [
        one["id"] for one in snapshot([task(annotations=[first, second])])[0]["annotations"]
    ] == [1]
    assert [
        one["id"] for one in snapshot([task(annotations=[third, second])])[0]["annotations"]
    ] == [3]


def test_a_box_is_no_outline() -> None:
    box = {"x": 10, "y": 10, "width": 30, "height": 30, "rotation": 0}
    assert read(task(brush(type="rectanglelabels", value=box))).objects == 0


def test_each_image_of_a_task_is_a_picture() -> None:
    config = LabelingConfig.parse(
        '<View><Image name="image" valueList="$pages"/><BrushLabels name="brush" toName="image">'
        '<Label value="Cat"/></BrushLabels></View>'
    )
    pages = {"pages": ["/data/upload/1/a.png", "/data/upload/1/b.png"]}
    both = task(brush(item_index=0), brush(item_index=1, id="b"), data=pages)
    annotated = read_annotations(snapshot([both]), config, ANYWHERE)
    assert (len(annotated.pictures), annotated.tasks) == (2, 1)


def test_what_cannot_be_read_is_named_and_the_rest_is_learnt() -> None:
    broken = brush(id="broken", value={"format": "rle", "rle": [1, 2, 3]})
    annotated = read(task(broken, brush()), task(brush(), id=8, data={}))
    assert annotated.objects == 1
    assert len(annotated.failures) == 2
    assert "task 7: the brush broken cannot be read" in annotated.failures[0]
    assert "task 8: the task's data has no image URL" in annotated.failures[1]


def test_a_region_without_an_id_is_learnt() -> None:
    nameless = brush()
    del nameless["id"]
    assert read(task(nameless)).objects == 1


def test_a_region_of_an_impossible_size_leaves_the_others() -> None:
    huge = brush(id="huge", original_width=10**6, original_height=10**6)
    annotated = read(task(huge, brush()))
    assert (annotated.objects, len(annotated.failures)) == (1, 1)


def test_the_hash_is_of_the_annotations() -> None:
    same, other = read(task(brush())), read(task(brush(11)))
    assert same.data_hash == read(task(brush(), extra=1)).data_hash
    assert same.data_hash != other.data_hash


def test_of_a_large_project_the_newest_tasks_are_learnt_from() -> None:
    tasks = [task(brush(), id=number) for number in (5, 6, 7)]
    assert [kept["id"] for kept in snapshot(tasks, most=2)] == [6, 7]
