"""Masks as the regions that Label Studio draws: read back, they are the masks again."""

import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image
from skimage.measure import grid_points_in_poly

from backend.regions import rendering
from backend.regions.controls import Label
from backend.regions.labeling_config import LabelingConfig
from backend.regions.outputs import TAGLESS_OUTPUT
from backend.regions.prompts import Interaction
from model import MaskPrediction
from model.formats import brush_rle

CLICK = Interaction("image", (Label("Other"),), (100, 200), points=((45, 30, 1),))
LABELS = '<Label value="Object"/><Label value="Other"/>'

MASK = np.zeros((100, 200), dtype=bool)
MASK[20:40, 60:120] = True


def prediction(mask: np.ndarray, iou: float = 0.9) -> MaskPrediction:
    return MaskPrediction(mask, np.zeros((256, 256), np.float32), iou)


def rendered(
    tags: str, mask: np.ndarray = MASK, interaction: Interaction = CLICK
) -> list[dict[str, object]]:
    config = LabelingConfig.parse(f'<View><Image name="image" value="$image"/>{tags}</View>')
    output = config.output_for(interaction.to_name, interaction.labels)
    return rendering.render(prediction(mask), interaction, output)


def labelled(kind: str) -> str:
    return f'<{kind} name="tag" toName="image">{LABELS}</{kind}>'


def decoded_png(url: str) -> np.ndarray:
    """H x W x 4 RGBA."""
    assert url.startswith("data:image/png;base64,")
    content = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(BytesIO(content)).convert("RGBA"))


def mask_of(region: dict) -> np.ndarray:
    """The pixels of a region, read as Label Studio draws it."""
    size = (region["original_height"], region["original_width"])
    height, width = size
    value = region["value"]
    rows, columns = np.mgrid[:height, :width] + 0.5
    if "rle" in value:
        return decode_rle(value["rle"]).reshape(*size, 4)[..., 3] > 0
    if "imageDataURL" in value:
        return decoded_png(value["imageDataURL"])[..., 3] > 0
    if "points" in value:
        ring = np.array(value["points"]) * (width, height) / 100
        return grid_points_in_poly(size, ring[:, ::-1] - 0.5, binarize=True)
    x, y = value["x"] * width / 100, value["y"] * height / 100
    if "radiusX" in value:
        angle = np.radians(value["rotation"])
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        radii = value["radiusX"] * width / 100, value["radiusY"] * height / 100
        return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1
    right, bottom = x + value["width"] * width / 100, y + value["height"] * height / 100
    return (columns > x) & (columns < right) & (rows > y) & (rows < bottom)


@pytest.mark.parametrize("kind", ["Brush", "Bitmask", "Polygon", "Rectangle"])
class TestEveryKind:
    def test_with_labels_of_its_own(self, kind: str) -> None:
        (region,) = rendered(labelled(f"{kind}Labels"))
        assert region["type"] == f"{kind.lower()}labels"
        assert (region["from_name"], region["to_name"]) == ("tag", "image")
        assert region["value"][f"{kind.lower()}labels"] == ["Other"]
        assert (region["original_width"], region["original_height"]) == (200, 100)
        assert (region["image_rotation"], region["score"]) == (0, 0.9)
        np.testing.assert_array_equal(mask_of(region), MASK)

    def test_with_a_labels_tag_beside_it(self, kind: str) -> None:
        """Two entries of one id, as the editor writes them: the shape, then its label."""
        shape, label = rendered(
            f'<Labels name="labels" toName="image">{LABELS}</Labels>'
            f'<{kind} name="tag" toName="image"/>'
        )
        assert shape["id"] == label["id"]
        assert (shape["type"], shape["from_name"]) == (kind.lower(), "tag")
        assert (label["type"], label["from_name"]) == ("labels", "labels")
        assert label["value"]["labels"] == ["Other"]
        assert "labels" not in shape["value"]
        np.testing.assert_array_equal(mask_of(shape), MASK)

    def test_the_view_and_the_page_are_those_of_the_click(self, kind: str) -> None:
        click = replace(CLICK, image_rotation=270, item_index=3)
        (region,) = rendered(labelled(f"{kind}Labels"), interaction=click)
        assert (region["image_rotation"], region["item_index"]) == (270, 3)
        (region,) = rendered(labelled(f"{kind}Labels"))
        assert "item_index" not in region

    def test_an_empty_mask_is_no_region(self, kind: str) -> None:
        assert rendered(labelled(f"{kind}Labels"), np.zeros((100, 200), dtype=bool)) == []

    @pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
    def test_the_smallest_images(self, kind: str, size: tuple[int, int]) -> None:
        mask = np.ones(size, dtype=bool)
        (region,) = rendered(labelled(f"{kind}Labels"), mask)
        np.testing.assert_array_equal(mask_of(region), mask)


def test_an_ellipse() -> None:
    rows, columns = np.mgrid[:100, :200] + 0.5
    x, y = columns - 90, rows - 50
    mask = ((x + y) / 60) ** 2 + ((x - y) / 30) ** 2 <= 1  # turned by 45 degrees
    (region,) = rendered(labelled("EllipseLabels"), mask)
    assert region["value"]["ellipselabels"] == ["Other"]
    assert region["value"]["rotation"] == pytest.approx(45, abs=1)
    found = mask_of(region)
    assert np.count_nonzero(found & mask) / np.count_nonzero(found | mask) > 0.98


@pytest.mark.parametrize("kind", ["Ellipse", "Rectangle"])
def test_a_small_part_far_off_counts_only_when_it_is_clicked(kind: str) -> None:
    mask = MASK.copy()
    mask[80:86, 10:16] = True
    (without,) = rendered(labelled(f"{kind}Labels"), mask)
    assert without["value"] == rendered(labelled(f"{kind}Labels"))[0]["value"]
    both = replace(CLICK, points=(*CLICK.points, (6.5, 83, 1)))
    (region,) = rendered(labelled(f"{kind}Labels"), mask, both)
    assert mask_of(region).sum() > 1.5 * mask_of(without).sum()


class TestPolygons:
    def test_every_part_is_a_region(self) -> None:
        mask = MASK.copy()
        mask[60:90, 100:180] = True
        first, second = rendered(labelled("PolygonLabels"), mask)
        assert first["id"] != second["id"]
        np.testing.assert_array_equal(mask_of(first) | mask_of(second), mask)
        assert not mask_of(first)[30, 90]  # the larger one comes first

    def test_holes_stay_open(self) -> None:
        mask = MASK.copy()
        mask[26:34, 80:100] = False
        (region,) = rendered(labelled("PolygonLabels"), mask)
        np.testing.assert_array_equal(mask_of(region), mask)

    def test_settings_of_the_tag_are_used(self) -> None:
        rows, columns = np.mgrid[:100, :200]
        disc = (rows - 50) ** 2 + (columns - 90) ** 2 < 45**2

        def vertices(attributes: str) -> int:
            tag = labelled("PolygonLabels").replace('name="tag"', f'name="tag" {attributes}')
            return len(rendered(tag, disc)[0]["value"]["points"])

        assert vertices('model_tolerance="0.5"') > vertices("") > vertices('model_tolerance="4"')
        assert vertices('model_max_vertices="10"') <= 10


@pytest.mark.parametrize("seed", range(20))
def test_masks_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 60, 2)) > rng.random()
    mask[0, 0] = True
    for kind in ("BrushLabels", "BitmaskLabels"):
        (region,) = rendered(labelled(kind), mask)
        np.testing.assert_array_equal(mask_of(region), mask)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), height=st.integers(1, 40), width=st.integers(1, 40))
def test_rle_and_png_come_back(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) > rng.random()
    channels = decode_rle(brush_rle.encode(mask)).reshape(height, width, 4)
    assert set(np.unique(channels)) <= {0, 255}  # 0 and 1 would be invisible in the editor
    np.testing.assert_array_equal(channels[..., 3] > 0, mask)
    png = decoded_png(rendering.encode_bitmask(mask))
    np.testing.assert_array_equal(png[..., 3] == 255, mask)
    np.testing.assert_array_equal(png[..., 0] > 127, mask)


def test_a_bare_prompt_gets_a_png_in_the_images_size() -> None:
    interaction = Interaction("image", is_tagless=True)
    (region,) = rendering.render(prediction(MASK), interaction, TAGLESS_OUTPUT)
    png = decoded_png(region["value"]["imageDataURL"])
    np.testing.assert_array_equal(png[..., 0] > 127, MASK)
    assert "from_name" not in region


def test_ids_do_not_repeat() -> None:
    ids = {rendered(labelled("RectangleLabels"))[0]["id"] for _ in range(50)}
    assert len(ids) == 50


@pytest.mark.parametrize(("iou", "score"), [(1.2, 1.0), (-0.1, 0.0), (0.87654321, 0.8765)])
def test_scores_stay_between_0_and_1(iou: float, score: float) -> None:
    assert rendering.score(prediction(MASK, iou)) == score
