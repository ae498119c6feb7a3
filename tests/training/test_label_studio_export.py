"""Label Studio's export: each shape becomes the pixels that its editor shows."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image

from training.evaluation_datasets import open_dataset
from training.labelled_images import LabelledImage

HEIGHT, WIDTH = 40, 80
BLOCK = np.zeros((HEIGHT, WIDTH), bool)
BLOCK[10:30, 16:48] = True


def result(kind: str, value: dict[str, Any], **more: object) -> dict[str, Any]:
    return {
        "id": "one",
        "type": kind,
        "value": value,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        **more,
    }


def task(*results: dict[str, Any], image: str = "/data/upload/1/a%20b.png") -> dict[str, Any]:
    return {
        "id": 3,
        "data": {"image": image, "note": "a picture"},
        "annotations": [
            {"was_cancelled": True, "result": [result("rectangle", {})]},
            {"result": list(results)},
        ],
    }


def read(folder: Path, *tasks: dict[str, Any]) -> list[LabelledImage]:
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a b.png")
    path = folder / "project-1.json"
    path.write_text(json.dumps(tasks))
    return list(open_dataset(path))


def png(mask: np.ndarray) -> str:
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = (255, 40, 40, 255)
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


RECTANGLE = {"x": 20, "y": 25, "width": 40, "height": 50, "rotation": 0}
CORNERS = [[20, 25], [60, 25], [60, 75], [20, 75]]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("brushlabels", {"format": "rle", "rle": mask2rle(BLOCK * np.uint8(255))}),
        ("brush", {"format": "rle", "rle": mask2rle(BLOCK * np.uint8(255))}),
        ("bitmasklabels", {"imageDataURL": png(BLOCK)}),
        ("polygonlabels", {"points": CORNERS, "closed": True}),
        ("polygon", {"points": CORNERS}),
        ("rectanglelabels", RECTANGLE),
        # Turned by a right angle around its first corner, which is then the upper right one.
        (
            "rectangle",
            {"x": 60, "y": 25, "width": 25, "height": 80, "rotation": 90},
        ),
    ],
)
def test_a_shape_is_the_pixels_that_the_editor_shows(
    tmp_path: Path, kind: str, value: dict[str, Any]
) -> None:
    labels = {kind: ["Cat"]} if kind.endswith("labels") else {}
    (labelled,) = read(tmp_path, task(result(kind, {**value, **labels})))
    np.testing.assert_array_equal(labelled.masks["object 1"], BLOCK)
    assert labelled.kinds == {"object 1": "Cat" if labels else ""}
    assert labelled.image.shape == (HEIGHT, WIDTH, 3)


def test_an_ellipse_is_turned_around_its_centre(tmp_path: Path) -> None:
    # 24 by 8 pixels, standing upright after a quarter turn
    value = {"x": 50, "y": 50, "radiusX": 15, "radiusY": 10, "rotation": 90}
    (labelled,) = read(tmp_path, task(result("ellipselabels", value)))
    rows, columns = np.nonzero(labelled.masks["object 1"])
    assert (rows.min(), rows.max()) == (8, 31)
    assert (columns.min(), columns.max()) == (36, 43)
    assert len(rows) == pytest.approx(np.pi * 12 * 4, rel=0.03)


def test_a_label_may_be_a_result_of_its_own(tmp_path: Path) -> None:
    shape = result("rectangle", RECTANGLE)
    labels = result("labels", {**RECTANGLE, "labels": ["Dog"]})
    (labelled,) = read(tmp_path, task(shape, labels))
    assert labelled.kinds == {"object 1": "Dog"}


def test_what_is_no_shape_is_left_out(tmp_path: Path) -> None:
    point = result("keypointlabels", {"x": 3, "y": 4, "width": 1, "keypointlabels": ["Cat"]})
    choice = {"id": "c", "type": "choices", "value": {"choices": ["good"]}}
    other = {**result("rectangle", RECTANGLE), "id": "two"}
    (labelled,) = read(tmp_path, task(point, choice, other), {**task(), "annotations": []})
    assert list(labelled.masks) == ["object 1"]


@pytest.mark.parametrize(
    "url",
    ["/data/local-files/?d=pictures/a%20b.png", "https://host/deep/a%20b.png?sig=1", "a b.png"],
)
def test_pictures_are_found_by_any_url(tmp_path: Path, url: str) -> None:
    assert len(read(tmp_path, task(result("rectangle", RECTANGLE), image=url))) == 1


@pytest.mark.parametrize(
    ("spoilt", "sentence"),
    [
        pytest.param(
            task(result("rectangle", RECTANGLE), image="/data/upload/1/gone.png"),
            "task 3 of .* names /data/upload/1/gone.png.*--images says where",
            id="picture",
        ),
        pytest.param(
            task(result("rectangle", RECTANGLE, original_width=9)),
            "is 80 x 40 pixels but its annotation is for 9 x 40",
            id="size",
        ),
        pytest.param(
            task(result("brush", {"format": "rle", "rle": [0, 0, 0, 9]})),
            "annotation of .* is broken: the brush one cannot be read: the brush RLE",
            id="brush",
        ),
        pytest.param(
            task(result("bitmask", {"imageDataURL": "data:,x"})), "the bitmask one", id="bitmask"
        ),
        pytest.param(task(), "has no annotation with a shape", id="nothing"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(
    tmp_path: Path, spoilt: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path, spoilt)
