"""COCO files as pycocotools reads them."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from model.formats import coco
from model.formats.polygons import Polygon, trace

# pycocotools' decoder is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def read(path: Path, content: dict[str, Any]) -> COCO:
    path.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        return COCO(path)


def test_pycocotools_reads_the_same_masks(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    annotations = [
        coco.annotation(number, 7, number % 2 + 1, mask)
        for number, mask in enumerate(masks.values(), start=1)
    ]
    images = [coco.image(7, "a b/ü.jpg", (120, 160))]
    found = read(tmp_path / "coco.json", coco.dataset(["Cat", "Dog"], images, annotations))
    assert found.loadImgs(7)[0]["file_name"] == "a b/ü.jpg"
    assert {one["id"]: one["name"] for one in found.loadCats(found.getCatIds())} == {
        1: "Cat",
        2: "Dog",
    }
    for number, mask in enumerate(masks.values(), start=1):
        (annotation,) = found.loadAnns(number)
        np.testing.assert_array_equal(found.annToMask(annotation), mask)
        rows, columns = np.nonzero(mask)
        assert annotation["area"] == len(rows)
        assert annotation["bbox"] == [
            columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
        ]  # fmt: skip
        assert annotation["category_id"] == number % 2 + 1
        assert annotation["iscrowd"] == 0


def test_only_objects_with_holes_are_run_lengths(mask: np.ndarray) -> None:
    polygons = trace(mask)
    written = coco.segmentation(mask)
    assert isinstance(written, dict) == any(polygon.holes for polygon in polygons)
    if isinstance(written, list):
        assert len(written) == len(polygons)


def test_an_outline_is_written_as_it_was_drawn(masks: dict[str, np.ndarray]) -> None:
    drawn = Polygon(np.array([[1.234, 2.5], [30.75, 4], [20, 41.019]]))
    written = coco.annotation(1, 1, 1, masks["disc"], [drawn])
    assert written["segmentation"] == [[1.23, 2.5, 30.75, 4, 20, 41.02]]
    assert written["area"] == masks["disc"].sum()


@pytest.mark.parametrize("tolerance", [1, 2])
def test_a_coarse_outline_may_still_have_holes(
    masks: dict[str, np.ndarray], tolerance: float
) -> None:
    outline = trace(masks["hole"], tolerance)
    assert isinstance(coco.segmentation(masks["hole"], outline), dict)
