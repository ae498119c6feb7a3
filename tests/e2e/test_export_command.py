"""`python -m backend export`: what a real Label Studio has, read as trainings read it."""

import contextlib
import json
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from backend.cli import main
from backend.regions.rendering import encode_bitmask
from demo.label_studio import LabelStudio
from model.formats import brush_rle

# pycocotools' decoder is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image" smart="false">
    <Label value="Dog"/><Label value="Cat" alias="feline"/>
  </BrushLabels>
  <BitmaskLabels name="bitmask" toName="image" smart="false"><Label value="Dog"/></BitmaskLabels>
  <EllipseLabels name="ellipse" toName="image" smart="false"><Label value="Dog"/></EllipseLabels>
  <RectangleLabels name="rectangle" toName="image" smart="false">
    <Label value="Rabbit"/>
  </RectangleLabels>
  <Polygon name="polygon" toName="image" smart="false"/>
  <Labels name="labels" toName="image"><Label value="Rabbit"/><Label value="Mouse"/></Labels>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="Dog"/></KeyPointLabels>
  <RectangleLabels name="box" toName="image" smart="true"><Label value="Dog"/></RectangleLabels>
</View>"""
CLASSES = ["Dog", "feline", "Rabbit", "Mouse"]
STORED = WIDTH, HEIGHT = 320, 200  # the second picture is turned on its side by EXIF

Masks = dict[str, np.ndarray]


def disc(size: tuple[int, int], row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def block(size: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


UPRIGHT, ON_ITS_SIDE = (HEIGHT, WIDTH), (WIDTH, HEIGHT)
RING = disc(UPRIGHT, 90, 100, 60) & ~disc(UPRIGHT, 80, 110, 20)
PARTS = disc(ON_ITS_SIDE, 60, 50, 30) | disc(ON_ITS_SIDE, 200, 150, 20)
# What each image has, with its label.
EXPECTED: dict[str, Masks] = {
    "first": {
        "feline": RING,
        "Mouse": block(UPRIGHT, slice(20, 60), slice(200, 280)),
        "Rabbit": block(UPRIGHT, slice(120, 180), slice(200, 240)),
    },
    "turned": {"Dog": PARTS, "Mouse": block(ON_ITS_SIDE, slice(10, 30), slice(100, 180))},
    "ellipse": {"Dog": disc(UPRIGHT, 100, 160, 50)},
    "nothing": {},
}


def region(kind: str, size: tuple[int, int], value: dict[str, Any], **more: Any) -> dict[str, Any]:
    tag = kind.removesuffix("labels")
    return {
        "id": f"{tag}-1",
        "from_name": tag,
        "to_name": "image",
        "type": kind,
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "value": value,
        **more,
    }


def corners(mask: np.ndarray) -> dict[str, Any]:
    """A polygon around a block."""
    rows, columns = np.nonzero(mask)
    y0, y1 = (100 * y / mask.shape[0] for y in (rows.min(), rows.max() + 1))
    x0, x1 = (100 * x / mask.shape[1] for x in (columns.min(), columns.max() + 1))
    return {"points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "closed": True}


def with_label(shape: dict[str, Any], label: str) -> list[dict[str, Any]]:
    """The two items that a Labels tag makes of a region."""
    labels = {
        "from_name": "labels",
        "type": "labels",
        "value": {**shape["value"], "labels": [label]},
    }
    return [shape, {**shape, **labels}]


def annotations() -> dict[str, list[dict[str, Any]]]:
    """The regions of each picture."""
    masks = EXPECTED["first"]
    brush = {"format": "rle", "rle": brush_rle.encode(RING), "brushlabels": ["feline"]}
    # a quarter turn around the corner that is then the upper right one
    turned = {"x": 75, "y": 60, "width": 60 / 3.2, "height": 20, "rotation": 90}
    bitmask = {"imageDataURL": encode_bitmask(PARTS), "bitmasklabels": ["Dog"]}
    ellipse = {"x": 50, "y": 50, "radiusX": 50 / 3.2, "radiusY": 25, "rotation": 30}
    box = {"x": 10, "y": 10, "width": 60, "height": 70, "rotation": 0, "rectanglelabels": ["Dog"]}
    point = {"x": 40, "y": 40, "width": 0.5, "keypointlabels": ["Dog"]}
    return {
        "first.png": [
            region("keypointlabels", UPRIGHT, point, from_name="point"),
            region("brushlabels", UPRIGHT, brush),
            *with_label(region("polygon", UPRIGHT, corners(masks["Mouse"])), "Mouse"),
            region("rectanglelabels", UPRIGHT, turned | {"rectanglelabels": ["Rabbit"]}),
        ],
        "turned.jpg": [
            region("rectanglelabels", ON_ITS_SIDE, box, id="box-1", from_name="box"),
            region("bitmasklabels", ON_ITS_SIDE, bitmask),
            *with_label(
                region("polygon", ON_ITS_SIDE, corners(EXPECTED["turned"]["Mouse"])), "Mouse"
            ),
        ],
        "ellipse.png": [region("ellipselabels", UPRIGHT, ellipse | {"ellipselabels": ["Dog"]})],
        "nothing.png": [],
    }


def picture(name: str) -> bytes:
    image, content = Image.new("RGB", STORED, "gray"), BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6 if name.startswith("turned") else 1
    image.save(content, "JPEG" if name.endswith("jpg") else "PNG", exif=exif)
    return content.getvalue()


@pytest.fixture(scope="module")
def project(label_studio: LabelStudio) -> int:
    drawn = annotations()
    names = [*drawn, "skipped.png", "untouched.png"]
    project_id = label_studio.create_project("to export", CONFIG)
    label_studio.upload(project_id, {name: picture(name) for name in names})
    for task in label_studio.tasks(project_id):
        name = task["data"]["image"].split("-", 1)[1]
        if name == "first.png":  # another annotator, before
            label_studio.annotate(task["id"], drawn["ellipse.png"])
        if name == "skipped.png":
            label_studio.annotate(task["id"], drawn["ellipse.png"], was_cancelled=True)
        elif name != "untouched.png":
            label_studio.annotate(task["id"], drawn[name])
    return project_id


@pytest.fixture
def export(
    label_studio: LabelStudio,
    project: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[Path, str]]:
    """Runs the command with some more arguments; gives its folder and what it printed."""
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.token)
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))

    def run(*arguments: str) -> tuple[Path, str]:
        folder = tmp_path / f"out of {arguments[0]}"
        status = main(
            ["export", "--project", str(project), "-o", str(folder), "--format", *arguments]
        )
        out, err = capsys.readouterr()
        assert status == 0, err
        assert not list(tmp_path.glob("*.part"))
        return folder, out

    return run


def plain(name: str) -> str:
    """The name of a picture as it was uploaded."""
    return name.split("-", 1)[1].split(".")[0]


def assert_same(found: np.ndarray, label: str, name: str) -> None:
    """Everything is exact but an ellipse, which the test draws otherwise."""
    expected = EXPECTED[name][label]
    if name == "ellipse":
        assert np.count_nonzero(found ^ expected) < 0.02 * np.count_nonzero(expected)
    else:
        np.testing.assert_array_equal(found, expected)


def test_coco(export: Callable[..., tuple[Path, str]]) -> None:
    folder, out = export("coco")
    assert "4 images with 6 objects of 4 classes" in out
    assert "1 tasks without an annotation" in out
    assert "1 tasks that annotators skipped" in out
    assert "1 boxes of tags that prompt the backend" in out
    assert "1 points and other regions that have no area" in out
    assert "1 annotations of tasks that have a better or newer annotation" in out
    with contextlib.redirect_stdout(StringIO()):
        coco = COCO(folder / "annotations.json")
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == CLASSES
    found = {}
    for image in coco.loadImgs(coco.getImgIds()):
        name = plain(image["file_name"])
        size = ON_ITS_SIDE if name == "turned" else UPRIGHT
        assert (image["height"], image["width"]) == size
        found[name] = [
            CLASSES[annotation["category_id"] - 1]
            for annotation in coco.loadAnns(coco.getAnnIds(image["id"]))
        ]
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            label = CLASSES[annotation["category_id"] - 1]
            assert_same(coco.annToMask(annotation), label, name)
            assert isinstance(annotation["segmentation"], dict) == (label == "feline")
    assert {name: sorted(labels) for name, labels in found.items()} == {
        name: sorted(masks) for name, masks in EXPECTED.items()
    }


def test_yolo(
    export: Callable[..., tuple[Path, str]], load_yolo: Callable[..., dict[str, Any]]
) -> None:
    folder, out = export("yolo", "--with-images")
    assert "1 objects of several parts: lines one pixel wide join the parts" in out
    assert (folder / "classes.txt").read_text().split() == CLASSES
    loaded = {plain(name): sample for name, sample in load_yolo(folder, WIDTH).items()}
    assert set(loaded) == set(EXPECTED)
    for name, sample in loaded.items():
        assert tuple(sample["ori_shape"]) == (ON_ITS_SIDE if name == "turned" else UPRIGHT)
        masks = sample["masks"]
        labels = [CLASSES[int(index)] for (index,) in sample["cls"]]
        assert sorted(labels) == sorted(EXPECTED[name])
        for label, mask in zip(labels, masks, strict=True):
            expected = EXPECTED[name][label]
            assert mask[expected].all() or name == "ellipse"
            extra = np.count_nonzero(mask & ~expected) / np.count_nonzero(expected)
            # A brush is drawn exactly, with its hole. Ultralytics draws the right and the lower
            # edge of an outline as one pixel more.
            assert extra <= {"feline": 0, "Dog": 0.06}.get(label, 0.12)


def test_index_pngs(export: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = export("png")
    names = json.loads((folder / "classes.json").read_text())
    assert list(names.values()) == ["background", *CLASSES]
    found = {plain(path.name): path for path in (folder / "masks").iterdir()}
    assert set(found) == set(EXPECTED)
    for name, path in found.items():
        with Image.open(path) as image:
            indices = np.asarray(image)
        for index, label in list(names.items())[1:]:
            if label in EXPECTED[name]:
                assert_same(indices == int(index), label, name)
            else:
                assert not (indices == int(index)).any()
        assert indices.shape == (ON_ITS_SIDE if name == "turned" else UPRIGHT)


def test_a_png_for_each_object(export: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = export("masks")
    listed = json.loads((folder / "masks.json").read_text())
    assert listed["classes"] == CLASSES
    for image in listed["images"]:
        name = plain(image["file_name"])
        assert sorted(one["label"] for one in image["objects"]) == sorted(EXPECTED[name])
        for one in image["objects"]:
            with Image.open(folder / one["mask"]) as mask:
                assert_same(np.asarray(mask) == 255, one["label"], name)


def test_a_view_of_the_data_manager(
    export: Callable[..., tuple[Path, str]], label_studio: LabelStudio, project: int
) -> None:
    task = next(t for t in label_studio.tasks(project) if "ellipse" in t["data"]["image"])
    equal = {"filter": "filter:tasks:id", "operator": "equal", "type": "Number"}
    view = label_studio.create_view(project, [{**equal, "value": task["id"]}])
    _, out = export("coco", "--filter", str(view))
    assert "1 images with 1 objects of 4 classes" in out
