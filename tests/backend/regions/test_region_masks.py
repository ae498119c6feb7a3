"""Regions of Label Studio to masks, for everything that the backend and the editor write."""

import base64
import json
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from PIL import Image

from backend.regions import rendering
from backend.regions.controls import Label
from backend.regions.errors import MalformedRequestError
from backend.regions.labeling_config import LabelingConfig
from backend.regions.prompts import Interaction
from backend.regions.region_masks import read_regions
from model.types import MaskPrediction

ROOT = Path(__file__).parents[3]
RECORDED = sorted((ROOT / "tests" / "data" / "annotations").glob("*.json"))
SIZE = HEIGHT, WIDTH = 40, 80
BLOCK = np.zeros(SIZE, bool)
BLOCK[10:30, 16:48] = True


def item(kind: str, value: dict[str, Any], **more: object) -> dict[str, Any]:
    return {
        "id": "one",
        "from_name": "tag",
        "to_name": "image",
        "type": kind,
        "value": value,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        **more,
    }


def png(mask: np.ndarray) -> str:
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = (255, 40, 40, 255)
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


RECTANGLE = {"x": 20, "y": 25, "width": 40, "height": 50, "rotation": 0}
# Turned by a right angle around its first corner, which is then the upper right one.
TURNED = {"x": 60, "y": 25, "width": 25, "height": 80, "rotation": 90}
CORNERS = [[20, 25], [60, 25], [60, 75], [20, 75]]


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("brush", {"format": "rle", "rle": mask2rle(BLOCK * np.uint8(255))}),
        ("bitmask", {"imageDataURL": png(BLOCK)}),
        ("polygon", {"points": CORNERS, "closed": True}),
        ("rectangle", RECTANGLE),
        ("rectangle", TURNED),
    ],
)
def test_a_shape_is_the_pixels_that_the_editor_shows(
    shape: str, value: dict[str, Any], with_labels: bool
) -> None:
    kind = shape + "labels" if with_labels else shape
    labels = {kind: ["Cat"]} if with_labels else {}
    (region,) = read_regions([item(kind, {**value, **labels}, item_index=2)])
    np.testing.assert_array_equal(region.mask(SIZE), BLOCK)
    assert (region.region_id, region.shape, region.item_index) == ("one", shape, 2)
    assert (region.from_name, region.to_name) == ("tag", "image")
    assert region.labels == (("Cat",) if with_labels else ())
    assert region.original_size == SIZE


def test_an_ellipse_is_turned_around_its_centre() -> None:
    # 24 by 8 pixels, standing upright after a quarter turn
    value = {"x": 50, "y": 50, "radiusX": 15, "radiusY": 10, "rotation": 90}
    (region,) = read_regions([item("ellipselabels", value)])
    rows, columns = np.nonzero(region.mask(SIZE))
    assert (rows.min(), rows.max()) == (8, 31)
    assert (columns.min(), columns.max()) == (36, 43)
    assert len(rows) == pytest.approx(np.pi * 12 * 4, rel=0.03)


def test_an_outline_is_what_was_drawn() -> None:
    (region,) = read_regions([item("polygon", {"points": [[0, 0], [33.3, 10], [5, 99.9]]})])
    outline = region.polygon(SIZE)
    assert outline is not None
    assert outline.exterior == pytest.approx(np.array([[0, 0], [26.64, 4], [4, 39.96]]))
    (brush,) = read_regions([item("brush", {"rle": []})])
    assert brush.polygon(SIZE) is None


@pytest.mark.parametrize("tag", ["Brush", "Bitmask", "Polygon", "Rectangle", "Ellipse"])
@pytest.mark.parametrize("with_labels", [True, False])
def test_the_backends_own_regions_come_back(tag: str, with_labels: bool) -> None:
    """Two entries with one id, where a Labels tag has the label, are one region."""
    rows, columns = np.mgrid[:120, :150] + 0.5
    mask = ((rows - 50) / 30) ** 2 + ((columns - 70) / 50) ** 2 <= 1
    if tag in ("Brush", "Bitmask", "Polygon"):
        mask[45:55, 60:75] = False
        mask[100:110, 10:40] = True  # another part: for polygons a region of its own
    if tag == "Rectangle":
        mask[20:80, 20:120] = True
    labels, none = '<Label value="Cat"/><Label value="Dog"/>', ""
    config = LabelingConfig.parse(
        f'<View><Image name="image" value="$image"/><Labels name="labels" toName="image">{labels}'
        f'</Labels><KeyPoint name="point" toName="image"/><{tag}{"Labels" * with_labels}'
        f' name="out" smart="false" model_tolerance="0" model_max_vertices="100000" toName="image">'
        f"{labels if with_labels else none}</{tag}{'Labels' * with_labels}></View>"
    )
    prediction = MaskPrediction(mask, np.zeros((256, 256), np.float32), 0.9)
    click = Interaction("image", (Label("Dog"),), points=((47, 30, 1),))
    result = rendering.render(prediction, click, config.output_for("image", (Label("Dog"),)))
    regions = read_regions(result)
    assert {region.labels for region in regions} == {("Dog",)}
    assert len({region.region_id for region in regions}) == len(regions)
    assert len(regions) == (2 if tag == "Polygon" else 1)
    found = np.any([region.mask(mask.shape) for region in regions], axis=0)
    if tag == "Ellipse":
        assert np.count_nonzero(found ^ mask) < 0.01 * np.count_nonzero(mask)
    else:
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_the_editor_saved(path: Path) -> None:
    """A box of the annotator, and the masks of a click and of this box, each with its label."""
    result = json.loads(path.read_text())["result"]
    regions = read_regions(result)
    ids = {item["id"] for item in result if not item["type"].startswith("keypoint")}
    points = {item["id"] for item in result if item["type"].startswith("keypoint")}
    assert [region.region_id for region in regions] == [
        region_id
        for region_id in dict.fromkeys(i["id"] for i in result)
        if region_id in ids - points
    ]
    assert {region.labels for region in regions} <= {("Other",), ("Car",)}
    for region in regions:
        assert region.original_size is not None
        mask = region.mask(region.original_size)
        assert 0 < np.count_nonzero(mask) < mask.size / 2
        if region.shape == "brush":
            rle = decode_rle(region.value["rle"]).reshape(*mask.shape, 4)
            np.testing.assert_array_equal(mask, rle[..., 3] > 127)


# Percent of the image, and half the width in pixels.
STROKES = {
    "brush": ([(20, 20), (40, 50), (60, 20)], 8.5),
    "bitmask": ([(20, 70), (40, 85), (60, 70)], 15),
}


def distances(size: tuple[int, int], start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """From each pixel's centre to a straight line, pixels."""
    places = np.stack(np.mgrid[: size[0], : size[1]][::-1], axis=-1) + 0.5 - start
    along = np.clip(places @ (end - start) / np.square(end - start).sum(), 0, 1)
    found: np.ndarray = np.linalg.norm(places - along[..., None] * (end - start), axis=-1)
    return found


def test_what_an_annotator_drew_by_hand() -> None:
    """Strokes of the editor's brush have soft edges, of which the opaque half counts."""
    saved = json.loads((ROOT / "tests" / "data" / "drawn_by_hand.json").read_text())
    for region in read_regions(saved):
        assert region.original_size == (600, 900)
        mask = region.mask((600, 900))
        corners, radius = STROKES[region.shape]
        stroke = np.array(corners) * (9, 6)
        sides = [distances(mask.shape, start, end) for start, end in pairwise(stroke)]
        to_stroke = np.minimum(*sides)
        assert to_stroke[mask].max() < radius + 1
        assert to_stroke[~mask].min() > radius - 1


class TestItems:
    def test_what_is_no_shape_is_left_out(self) -> None:
        point = item("keypointlabels", {"x": 3, "y": 4, "width": 1, "keypointlabels": ["Cat"]})
        choice = {"id": "c", "type": "choices", "value": {"choices": ["good"]}}
        relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
        box = item("rectangle", RECTANGLE, id="two")
        assert [r.region_id for r in read_regions([point, choice, relation, box])] == ["two"]

    def test_labels_of_several_items_are_all_there_once(self) -> None:
        shape = item("rectanglelabels", RECTANGLE | {"rectanglelabels": ["Cat", None]})
        labels = item("labels", RECTANGLE | {"labels": ["Dog", "Cat"]})
        choices = item("choices", RECTANGLE | {"choices": ["blurred"]})
        (region,) = read_regions([labels, shape, choices])
        assert region.labels == ("Cat", "Dog")

    def test_the_same_box_of_two_tags_is_one_region(self) -> None:
        labelled = item("rectanglelabels", RECTANGLE | {"rectanglelabels": ["Cat"]})
        (region,) = read_regions([item("rectangle", RECTANGLE), labelled])
        assert region.labels == ("Cat",)

    def test_regions_that_share_an_id_or_have_none_are_all_there(self) -> None:
        other = {**RECTANGLE, "x": 0}
        page = item("rectangle", RECTANGLE, item_index=1)
        assert (
            len(read_regions([item("rectangle", RECTANGLE), item("rectangle", other), page])) == 3
        )
        nameless = {"type": "rectangle", "value": RECTANGLE}
        first, second = read_regions([nameless, nameless])
        assert first.original_size is None
        np.testing.assert_array_equal(second.mask(SIZE), BLOCK)

    def test_nothing_is_nothing(self) -> None:
        assert read_regions([]) == []


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("brush", {"rle": [0, 0, 0, 9]}, "the brush one cannot be read: .* ends too early"),
        ("brush", {}, "it has no 'rle'"),
        ("brush", {"rle": None}, "whole numbers from 0 to 255"),
        ("brushlabels", {"rle": mask2rle(np.eye(9, dtype=np.uint8) * 255)}, "of another image"),
        ("bitmask", {"imageDataURL": "data:,x"}, "the bitmask one .* Base64"),
        ("bitmask", {"imageDataURL": None}, "no data: URL"),
        ("bitmask", {"imageDataURL": "data:image/png;base64,YWFh"}, "cannot identify"),
        (
            "bitmask",
            {"imageDataURL": png(BLOCK[:, 1:])},
            "79 x 40 pixels, and the image is 80 x 40",
        ),
        ("polygon", {"points": [1, 2]}, "pairs of numbers"),
        ("polygon", {"points": [[1, float("nan")]]}, "pairs of numbers"),
        ("polygon", {"points": [[1, 1], [1e300, 1], [1, 5]]}, "pairs of numbers"),
        ("polygon", {"points": [[1, 1], [10**400, 1], [1, 5]]}, "the polygon one cannot be read"),
        ("rectangle", RECTANGLE | {"x": "a"}, "x of a region must be a number"),
        ("ellipse", {"x": 1, "y": 2, "radiusX": 3}, "radiusY of a region must be a number"),
    ],
)
def test_damage_is_told(kind: str, value: dict[str, Any], sentence: str) -> None:
    (region,) = read_regions([item(kind, value)])
    with pytest.raises(MalformedRequestError, match=sentence):
        region.mask(SIZE)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("brush", {"rle": [0, 0, 0, 9]}), ("rectangle", RECTANGLE), ("polygon", {"points": CORNERS})],
)
def test_no_mask_is_made_for_an_image_that_cannot_be_loaded(
    kind: str, value: dict[str, Any]
) -> None:
    (region,) = read_regions([item(kind, value)])
    with pytest.raises(MalformedRequestError, match="50000 x 1000000 pixels"):
        region.mask((1_000_000, 50_000))


def test_half_of_a_surrogate_pair_becomes_a_question_mark() -> None:
    value = {**RECTANGLE, "rectanglelabels": ["Cat\ud83d"]}
    (region,) = read_regions([item("rectanglelabels", value, id="a\udc00")])
    assert (region.region_id, region.labels) == ("a?", ("Cat?",))
