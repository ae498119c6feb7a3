"""Tasks with predictions, as Label Studio's own SDK reads them."""

from pathlib import Path

import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

from model.formats import label_studio

CONFIG = Path(__file__).parents[3] / "examples" / "keypoints-and-boxes.xml"
MASK = np.zeros((20, 30), bool)
MASK[3:9, 4:25] = True
EMPTY = np.zeros((20, 30), bool)


def test_the_sdk_accepts_the_prediction_and_reads_the_masks() -> None:
    task = label_studio.task(
        "/a.png",
        [(MASK, 0.9), (EMPTY, 0.8), (~MASK, 1.02)],
        label="Object",
        model_version="mobile-sam",
    )
    interface = LabelInterface(CONFIG.read_text())
    assert interface.validate_task({"data": task["data"]})
    (prediction,) = task["predictions"]
    assert interface.validate_prediction(prediction, return_errors=True) == []
    assert prediction["score"] == 0.9  # of the least sure object, as in answers to clicks
    first, second = prediction["result"]
    assert first["id"] != second["id"]
    for region, mask in ((first, MASK), (second, ~MASK)):
        assert 0 <= region["score"] <= 1
        size = region["original_height"], region["original_width"], 4
        pixels = decode_rle(region["value"]["rle"]).reshape(size)
        assert (pixels[..., 3] == 255 * mask).all()


def test_an_image_without_objects_is_a_task_all_the_same() -> None:
    task = label_studio.task("/a.png", [], label="Object", model_version="mobile-sam")
    assert task["data"] == {"image": "/a.png"}
    assert task["predictions"] == [{"model_version": "mobile-sam", "result": []}]
