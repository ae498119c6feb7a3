"""Annotated tasks to files, with what goes wrong on the way."""

import base64
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from backend.commands.export import _WRITERS
from backend.export.annotations import AnnotationReader, Choice, classes
from backend.export.exporter import Exporter
from backend.export.report import Note, Report
from backend.export.writers import Classes
from backend.http.client import HttpClient
from backend.images.fetching import Fetcher
from backend.images.loading import ImageLoader
from backend.regions.labeling_config import LabelingConfig
from backend.regions.region_masks import read_regions
from model.formats import brush_rle

# pycocotools' decoder is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

SIZE = HEIGHT, WIDTH = 60, 80
CONFIG = """<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image"><Label value="Cat"/><Label value="Dog"/></BrushLabels>
  <PolygonLabels name="polygon" toName="image"><Label value="Cat"/></PolygonLabels></View>"""


def picture(width: int = WIDTH, height: int = HEIGHT) -> str:
    content = BytesIO()
    Image.new("RGB", (width, height)).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def block(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[rows, columns] = True
    return mask


def region(kind: str, value: dict[str, Any], *labels: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "from_name": kind,
        "to_name": "image",
        "type": f"{kind}labels",
        "value": {**value, f"{kind}labels": list(labels)},
        "original_width": WIDTH,
        "original_height": HEIGHT,
        **more,
    }


def brush(mask: np.ndarray, *labels: str, **more: Any) -> dict[str, Any]:
    return region("brush", {"format": "rle", "rle": brush_rle.encode(mask)}, *labels, **more)


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    """A polygon of vertices in pixels."""
    percent = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in points]
    return region("polygon", {"points": percent, "closed": True}, "Cat")


def task(number: int, *regions: dict[str, Any], image: str | None = None) -> dict[str, Any]:
    url = f"/data/upload/1/{number}.png" if image is None else image
    return {"id": number, "data": {"image": url}, "annotations": [{"id": 1, "result": [*regions]}]}


def export(
    folder: Path,
    kind: str,
    *tasks: dict[str, Any],
    config: str = CONFIG,
    unlabelled: str | None = None,
    with_images: bool = False,
    tolerance: float = 0,
) -> Report:
    parsed, report = LabelingConfig.parse(config), Report()
    found = Classes(classes(parsed, ()))
    writer = _WRITERS[kind](folder, tolerance, report)
    exporter = Exporter(
        AnnotationReader(parsed, Choice.ONE, (), report),
        ImageLoader(Fetcher(None, HttpClient())),
        writer,
        found,
        unlabelled,
        folder if with_images else None,
        report,
    )
    exporter.write(tasks)
    writer.finish(found)
    return report


def coco(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "annotations.json").read_text())
    return content


def masks(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "masks.json").read_text())
    return content


def labels(content: dict[str, Any]) -> list[str]:
    names = {one["id"]: one["name"] for one in content["categories"]}
    return [names[one["category_id"]] for one in content["annotations"]]


def decoded(segmentation: Any) -> np.ndarray:
    if isinstance(segmentation, list):
        segmentation = run_lengths.merge(run_lengths.frPyObjects(segmentation, *SIZE))
    return np.asarray(run_lengths.decode(segmentation)) > 0


ROOT = Path(__file__).parents[3]
RECORDED = sorted((ROOT / "tests" / "data" / "annotations").glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_mask_that_the_editor_saved(path: Path, tmp_path: Path) -> None:
    """A click and a box were left behind beside their masks. They are prompts, and no objects."""
    saved = json.loads(path.read_text())
    made = {"id": 1, "data": saved["data"], "annotations": [{"id": 2, "result": saved["result"]}]}
    config = (ROOT / "examples" / path.name).with_suffix(".xml").read_text()
    report = export(tmp_path, "masks", made, config=config)
    assert report.failures == []
    objects = [one for image in masks(tmp_path)["images"] for one in image["objects"]]
    prompts = {one["id"] for one in saved["result"] if re.match("point|box", one["from_name"])}
    drawn = {one["id"] for one in saved["result"]} - prompts
    assert {one["region"] for one in objects} == drawn
    assert {one["label"] for one in objects} == {"Car" if "several" in path.name else "Other"}
    assert report.objects == len(drawn)


CAT = block(slice(5, 30), slice(10, 40))


class TestLabels:
    def test_without_a_label_an_object_needs_a_name(self, tmp_path: Path) -> None:
        tasks = [task(1, brush(CAT), brush(CAT, "Dog", id="d"))]
        report = export(tmp_path, "coco", *tasks)
        assert report.failures == [
            (
                "task 1",
                "the brush r has no label: --unlabelled NAME exports such objects as a class of"
                " this name",
            )
        ]
        assert labels(coco(tmp_path)) == ["Dog"]
        assert not export(tmp_path, "coco", *tasks, unlabelled="thing").failures
        assert labels(coco(tmp_path)) == ["thing", "Dog"]

    def test_a_config_without_labels_has_one_class(self, tmp_path: Path) -> None:
        config = CONFIG.replace("<Label ", "<Nothing ").replace("BrushLabels", "Brush")
        item = brush(CAT, type="brush")
        assert not export(tmp_path, "coco", task(1, item), config=config).failures
        assert labels(coco(tmp_path)) == ["object"]

    def test_several_labels_are_several_objects(self, tmp_path: Path) -> None:
        report = export(tmp_path, "coco", task(1, brush(CAT, "Dog", "Cat")))
        assert labels(coco(tmp_path)) == ["Dog", "Cat"]
        assert +report.notes == {Note.SEVERAL_LABELS: 1}

    def test_labels_that_the_config_lacks_come_last(self, tmp_path: Path) -> None:
        tasks = [
            task(1, brush(CAT, "Zebra")),
            task(2, brush(CAT, "Ape"), brush(CAT, "Dog", id="2")),
        ]
        report = export(tmp_path, "yolo", *tasks)
        assert (tmp_path / "classes.txt").read_text().split() == ["Cat", "Dog", "Zebra", "Ape"]
        rows = (tmp_path / "labels" / "2.txt").read_text().splitlines()
        assert [row.split()[0] for row in rows] == ["3", "1"]
        assert report.notes[Note.OTHER_LABELS] == 2


class TestOutlines:
    def test_a_polygon_keeps_its_vertices(self, tmp_path: Path) -> None:
        item = polygon((10.25, 5), (50, 10.5), (30, 40))
        export(tmp_path, "coco", task(1, item))
        (annotation,) = coco(tmp_path)["annotations"]
        assert annotation["segmentation"] == [[10.25, 5, 50, 10.5, 30, 40]]
        assert annotation["label_studio"] == {"annotation": 1, "region": "r"}

    @pytest.mark.parametrize(
        "points",
        [
            pytest.param([(-20, -10), (40, 10), (100, 70), (10, 50)], id="over the border"),
            pytest.param([(40, 5), (55, 50), (10, 20), (70, 20), (25, 50)], id="crosses itself"),
            pytest.param(
                [(5, 5), (60, 5), (60, 50), (5, 50), (5, 5)]
                + [(20, 20), (20, 40), (40, 40), (40, 20), (20, 20)],
                id="a hole behind a bridge",
            ),
        ],
    )
    @pytest.mark.parametrize("kind", ["coco", "yolo"])
    def test_what_readers_would_fill_otherwise_is_traced(
        self, tmp_path: Path, points: list[tuple[float, float]], kind: str
    ) -> None:
        item = polygon(*points)
        export(tmp_path, kind, task(1, item))
        expected = read_regions([item])[0].mask(SIZE)
        if kind == "coco":
            (annotation,) = coco(tmp_path)["annotations"]
            np.testing.assert_array_equal(decoded(annotation["segmentation"]), expected)
        else:
            shares = np.array((tmp_path / "labels" / "1.txt").read_text().split()[1:], dtype=float)
            vertices = shares.reshape(-1, 2) * (WIDTH, HEIGHT)
            drawn = cv2.fillPoly(np.zeros(SIZE, np.uint8), [vertices.astype(np.int32)], (1,))
            np.testing.assert_array_equal(drawn > 0, expected)

    def test_a_tolerance_makes_masks_shorter(self, tmp_path: Path) -> None:
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        item = brush((rows - 30) ** 2 + (columns - 40) ** 2 < 25**2, "Cat")
        sizes = []
        for tolerance in (0, 1):
            export(tmp_path, "coco", task(1, item), tolerance=tolerance)
            (annotation,) = coco(tmp_path)["annotations"]
            sizes.append(len(annotation["segmentation"][0]))
        assert sizes[1] < sizes[0] / 3


class TestFailures:
    def test_a_damaged_region_leaves_the_others(self, tmp_path: Path) -> None:
        damaged = region("brush", {"format": "rle", "rle": [0, 0, 0, 7]}, "Cat", id="broken")
        report = export(tmp_path, "yolo", task(1, damaged, brush(CAT, "Dog")))
        ((name, reason),) = report.failures
        assert name == "task 1"
        assert "brush broken cannot be read" in reason
        assert (report.images, report.objects) == (1, 1)
        assert len((tmp_path / "labels" / "1.txt").read_text().splitlines()) == 1

    @pytest.mark.parametrize("kind", ["coco", "yolo", "png", "masks"])
    def test_odd_regions_leave_the_others(self, tmp_path: Path, kind: str) -> None:
        far = polygon((5, 5), (1e300, 5), (5, 9))
        farther = polygon((5, 5), (9, 5), (5, 9))
        farther["value"]["points"][1][0] = 10**400
        huge = {"original_width": 10**6, "original_height": 10**6}
        tasks = [
            task(1, far, farther | {"id": "2"}, brush(CAT, "Dog", id="3")),
            task(2, polygon((5, 5), (9, 5), (5, 9)) | huge),
            task(3, brush(CAT, "Dog\ud83d", id="\udc00")),
        ]
        report = export(tmp_path, kind, *tasks)
        assert [name for name, _ in report.failures] == ["task 1", "task 1", "task 2"]
        assert (report.images, report.objects) == (2, 2)

    def test_a_task_that_cannot_be_read_leaves_the_others(self, tmp_path: Path) -> None:
        odd = {"id": 1, "data": {}, "annotations": [{"id": 1, "result": []}]}
        report = export(tmp_path, "coco", odd, task(2, brush(CAT, "Dog")))
        assert [name for name, _ in report.failures] == ["task 1"]
        assert [image["file_name"] for image in coco(tmp_path)["images"]] == ["2.png"]

    def test_a_region_without_pixels_is_no_object(self, tmp_path: Path) -> None:
        report = export(tmp_path, "coco", task(1, brush(CAT & False, "Dog"), polygon((5, 5))))
        assert (report.images, report.objects) == (1, 0)
        assert +report.notes == {Note.NO_PIXELS: 2}
        assert not report.failures


class TestImages:
    def test_the_size_of_an_image_without_regions_is_its_own(self, tmp_path: Path) -> None:
        report = export(tmp_path, "coco", task(1, image=picture(7, 5)))
        assert not report.failures
        (image,) = coco(tmp_path)["images"]
        assert (image["width"], image["height"]) == (7, 5)
        assert image["file_name"] == "image.png"

    def test_regions_that_tell_no_size_get_that_of_the_image(self, tmp_path: Path) -> None:
        item = polygon((8, 6), (40, 6), (40, 30), (8, 30))
        del item["original_width"], item["original_height"]
        export(tmp_path, "coco", task(1, item, image=picture(160, 120)))
        (annotation,) = coco(tmp_path)["annotations"]
        assert annotation["bbox"] == [16, 12, 64, 48]

    def test_images_are_kept_under_their_names(self, tmp_path: Path) -> None:
        tasks = [task(n, brush(CAT, "Dog"), image=picture()) for n in (1, 2)]
        report = export(tmp_path, "yolo", *tasks, with_images=True)
        assert not report.failures
        names = sorted(path.stem for path in (tmp_path / "images").iterdir())
        assert names == sorted(path.stem for path in (tmp_path / "labels").iterdir())
        assert names == ["image", "image-2"]
        with Image.open(tmp_path / "images" / "image.png") as image:
            assert image.size == (WIDTH, HEIGHT)

    def test_a_replaced_image_fails(self, tmp_path: Path) -> None:
        tasks = [task(1, brush(CAT, "Dog"), image=picture(9, 9)), task(2, brush(CAT, "Dog"))]
        report = export(tmp_path, "yolo", *tasks, with_images=True)
        (replaced, missing) = report.failures
        assert "has 9 x 9 pixels, and its regions were drawn on 80 x 60" in replaced[1]
        assert "LABEL_STUDIO_URL is not set" in missing[1]
        assert not list((tmp_path / "labels").iterdir())


class TestPngs:
    def test_objects_that_hide_others_are_counted(self, tmp_path: Path) -> None:
        small = block(slice(10, 20), slice(15, 25))
        far = block(slice(40, 50), slice(50, 60))
        regions = [brush(small, "Dog"), brush(CAT, "Cat", id="2"), brush(far, "Dog", id="3")]
        report = export(tmp_path, "png", task(1, *regions))
        assert +report.notes == {Note.HIDDEN: 1}
        with Image.open(tmp_path / "masks" / "1.png") as image:
            indices = np.asarray(image)
        np.testing.assert_array_equal(indices == 2, small | far)
        np.testing.assert_array_equal(indices == 1, CAT & ~small)

    def test_more_classes_than_a_pixel_can_tell(self, tmp_path: Path) -> None:
        many = [brush(CAT, f"label {n}", id=str(n)) for n in range(255)]
        with pytest.raises(ValueError, match="at most 255 classes"):
            export(tmp_path, "png", task(1, *many))
