"""Boxes of a detector to YOLO segmentation labels."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model import MobileSAM, auto_annotate
from model.__main__ import main
from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH = 240, 320
RED, BLUE = (slice(60, 180), slice(40, 140)), (slice(60, 180), slice(190, 290))
RED_BOX, BLUE_BOX = (38, 58, 142, 182), (188, 58, 292, 182)
ROTATED = 6  # EXIF: shown a quarter turn clockwise


@pytest.fixture(scope="module")
def sam() -> MobileSAM:
    return MobileSAM(BUILTIN_PATH, precision="fp32")


def write_photo(path: Path, **options: Any) -> None:
    image = np.full((HEIGHT, WIDTH, 3), 170, dtype=np.uint8)
    image[RED] = (210, 40, 30)
    image[BLUE] = (30, 60, 200)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "in ner/c.png"):
        write_photo(tmp_path / "photos" / name)
    return tmp_path / "photos"


def yolo_row(class_id: int, box: tuple[float, ...], *rest: object) -> str:
    x0, y0, x1, y1 = np.array(box) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
    words = (class_id, (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, *rest)
    return " ".join(map(str, words)) + "\n"


def write_labels(folder: Path, **rows: str) -> Path:
    for name, content in rows.items():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def read_rows(path: Path) -> list[tuple[int, np.ndarray]]:
    """The class and the ring, N x 2 in pixels, of each row."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return [
        (int(row[0]), np.array(row[1:], float).reshape(-1, 2) * (WIDTH, HEIGHT)) for row in rows
    ]


def box_of(ring: np.ndarray) -> np.ndarray:
    return np.concatenate([ring.min(axis=0), ring.max(axis=0)])


def is_near(ring: np.ndarray, box: tuple[float, ...]) -> bool:
    return bool(np.abs(box_of(ring) - box).max() < 10)


def test_a_row_for_each_box_in_its_order_and_with_its_class(
    sam: MobileSAM, photos: Path, tmp_path: Path
) -> None:
    boxes = write_labels(
        tmp_path / "boxes",
        a=yolo_row(7, BLUE_BOX) + yolo_row(2, RED_BOX, 0.91),
        b=yolo_row(0, RED_BOX),
    )
    report = auto_annotate(sam, photos, boxes, tmp_path / "out")
    (first, blue), (second, red) = read_rows(tmp_path / "out" / "a.txt")
    assert (first, second) == (7, 2)
    assert is_near(blue, BLUE_BOX) and is_near(red, RED_BOX)
    assert len(read_rows(tmp_path / "out" / "b.txt")) == 1
    # No label file means no object, and an image without objects has an empty file.
    assert (tmp_path / "out" / "in ner" / "c.txt").read_text() == ""
    assert (report.written, report.objects, report.joined) == (3, 3, 0)
    assert not report.failed and not report.left_out and not report.rectangles


def test_coco_boxes(sam: MobileSAM, photos: Path, tmp_path: Path) -> None:
    content = {
        "images": [
            {"id": 5, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 6, "file_name": "in ner/c.png", "width": WIDTH, "height": HEIGHT},
            {"id": 7, "file_name": "b.png", "width": HEIGHT, "height": WIDTH},
            {"id": 8, "file_name": "elsewhere.png"},
        ],
        "categories": [{"id": 40, "name": "blue"}, {"id": 3, "name": "red"}],
        "annotations": [
            {"image_id": 5, "category_id": 40, "bbox": [188, 58, 104, 124]},
            {"image_id": 5, "category_id": 3, "bbox": [38, 58, 104, 124]},
            {"image_id": 7, "category_id": 3, "bbox": [38, 58, 104, 124]},
        ],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    report = auto_annotate(sam, photos, path)
    assert report.output == tmp_path / "photos_segmentation_labels"
    assert (report.output / "classes.txt").read_text() == "red\nblue\n"
    (first, blue), (second, red) = read_rows(report.output / "a.txt")
    assert (first, second) == (1, 0)
    assert is_near(blue, BLUE_BOX) and is_near(red, RED_BOX)
    assert (report.output / "in ner" / "c.txt").read_text() == ""
    # The size in the file is that of the image before it was turned: its boxes fit nowhere.
    (failed,) = report.failed
    assert "b.png" in failed and "says 240 x 320 pixels" in failed
    assert not (report.output / "b.txt").exists()
    (unmatched,) = report.unmatched
    assert "elsewhere.png" in unmatched


def test_boxes_of_a_function(sam: MobileSAM, photos: Path) -> None:
    def detect(image: np.ndarray) -> list[tuple[int, tuple[int, ...]]]:
        assert image[70, 50].tolist() == [210, 40, 30]  # RGB
        return [(4, BLUE_BOX)]

    report = auto_annotate(sam, photos, detect)
    assert report.written == report.objects == 3
    ((class_id, ring),) = read_rows(report.output / "in ner" / "c.txt")
    assert class_id == 4
    assert is_near(ring, BLUE_BOX)


def test_boxes_that_say_no_place_shift_nothing(
    sam: MobileSAM, photos: Path, tmp_path: Path
) -> None:
    rows = [
        yolo_row(1, (400, 10, 500, 20)),
        yolo_row(2, RED_BOX),
        "3 nan 0.5 0.1 0.1\n",
        "4 0.5 0.5 0 0.1\n",
        yolo_row(5, BLUE_BOX),
    ]
    boxes = write_labels(tmp_path / "boxes", a="".join(rows))
    report = auto_annotate(sam, photos, boxes)
    (first, red), (second, blue) = read_rows(report.output / "a.txt")
    assert (first, second) == (2, 5)
    assert is_near(red, RED_BOX) and is_near(blue, BLUE_BOX)
    outside, not_finite, flat = report.left_out
    assert "a.png, box 1 (class 1): its box is outside the image" in outside
    assert "a.png, box 3 (class 3): its box has a number that is not finite" in not_finite
    assert "a.png, box 4 (class 4): its box has no area" in flat


def test_a_photo_that_lies_on_its_side_has_upright_labels(sam: MobileSAM, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    write_photo(tmp_path / "photos" / "a.jpg", exif=exif, quality=95)
    # Shown upright, red lies above blue. Fractions of the image as it is shown.
    boxes = write_labels(tmp_path / "boxes", a="3 0.5 0.28 0.52 0.33\n")
    report = auto_annotate(sam, tmp_path / "photos", boxes)
    words = (report.output / "a.txt").read_text().split()
    ring = np.array(words[1:], float).reshape(-1, 2)
    assert np.abs(box_of(ring) - (0.25, 40 / 320, 0.75, 140 / 320)).max() < 0.05


def test_an_interrupted_run_goes_on(sam: MobileSAM, photos: Path, tmp_path: Path) -> None:
    boxes = write_labels(tmp_path / "boxes", a=yolo_row(1, RED_BOX), b=yolo_row(1, RED_BOX))
    before = (photos / "b.png").read_bytes()
    (photos / "b.png").write_bytes(b"no image")
    report = auto_annotate(sam, photos, boxes)
    assert (report.written, len(report.failed)) == (2, 1)
    times = {path: path.stat().st_mtime_ns for path in report.output.rglob("*.txt")}
    (photos / "b.png").write_bytes(before)
    again = auto_annotate(sam, photos, boxes)
    assert (again.written, again.skipped, again.failed) == (1, 2, [])
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert [path.name for path in again.output.rglob("*.part")] == []


@pytest.mark.parametrize(
    ("boxes", "output", "sentence"),
    [
        pytest.param({"x": yolo_row(1, RED_BOX)}, "out", "belongs to an image", id="other-names"),
        pytest.param({"a": yolo_row(1, RED_BOX)}, "boxes", "would be overwritten", id="same"),
        pytest.param({"a": yolo_row(1, RED_BOX)}, "old", "holds no segmentation", id="old"),
    ],
)
def test_wrong_folders_get_a_sentence(
    sam: MobileSAM, photos: Path, tmp_path: Path, boxes: Any, output: str, sentence: str
) -> None:
    folder = write_labels(tmp_path / "boxes", **boxes)
    write_labels(tmp_path / "old", a=yolo_row(1, RED_BOX))
    with pytest.raises(ValueError, match=sentence):
        auto_annotate(sam, photos, folder, tmp_path / output)


def test_the_names_of_classes_keep_their_file(sam: MobileSAM, photos: Path, tmp_path: Path) -> None:
    write_photo(photos / "classes.png")
    boxes = write_labels(tmp_path / "boxes", a=yolo_row(0, RED_BOX), classes="red\n")
    with pytest.raises(ValueError, match=r"the names of the classes and .*classes\.png would both"):
        auto_annotate(sam, photos, boxes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param("1 0.5 0.5\n", "a row must be", id="short"),
        pytest.param("cat 0.5 0.5 0.1 0.1\n", "a row must be", id="name"),
        pytest.param("1 0.1 0.1 0.2 0.2 0.3 0.3\n", "a row must be", id="segments"),
    ],
)
def test_a_broken_label_file_is_the_fault_of_its_image(
    sam: MobileSAM, photos: Path, tmp_path: Path, content: str, sentence: str
) -> None:
    boxes = write_labels(tmp_path / "boxes", a=content, b=yolo_row(1, RED_BOX))
    report = auto_annotate(sam, photos, boxes)
    (failed,) = report.failed
    assert sentence in failed and "a.txt, line 1" in failed
    assert report.written == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param("{", "neither a folder of YOLO labels nor JSON", id="no-json"),
        pytest.param("[]", "must be a COCO file", id="results"),
        pytest.param('{"images": []}', "is no COCO file", id="parts"),
    ],
)
def test_a_file_that_is_no_coco_gets_a_sentence(
    sam: MobileSAM, photos: Path, tmp_path: Path, content: str, sentence: str
) -> None:
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        auto_annotate(sam, photos, tmp_path / "boxes.json")


def test_the_command(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = write_labels(tmp_path / "boxes", a=yolo_row(7, BLUE_BOX), z=yolo_row(1, RED_BOX))
    (photos / "b.png").write_bytes(b"no image")
    words = ["auto-annotate", photos, "--boxes", boxes, "-o", tmp_path / "out"]
    status = main([*map(str, words), "--checkpoint", str(BUILTIN_PATH)])
    out, err = capsys.readouterr()
    assert status == 1
    counts = json.loads(out)
    assert (counts["written"], counts["failed"], counts["objects"]) == (2, 1, 1)
    assert "b.png is no image that Pillow can read" in err
    assert "z.txt belongs to no image" in err


def test_a_run_that_was_killed_is_completed(photos: Path, tmp_path: Path) -> None:
    names = [f"photo{number}" for number in range(30)]
    for name in names:
        write_photo(photos / f"{name}.png")
    boxes = write_labels(tmp_path / "boxes", **dict.fromkeys(names, yolo_row(7, BLUE_BOX)))
    output = tmp_path / "out"
    words = ["auto-annotate", photos, "--boxes", boxes, "-o", output, "--checkpoint", BUILTIN_PATH]
    process = subprocess.Popen([sys.executable, "-m", "model", *words], cwd=ROOT)
    while not list(output.rglob("*.txt")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    there = {path: path.stat().st_mtime_ns for path in output.rglob("*.txt")}
    assert main([*map(str, words)]) == 0
    assert all(path.stat().st_mtime_ns == mtime for path, mtime in there.items())
    for name in names:
        ((class_id, ring),) = read_rows(output / f"{name}.txt")
        assert class_id == 7
        assert is_near(ring, BLUE_BOX)
    assert len(list(output.rglob("*.txt"))) == len(names) + 3


# Six boxes of six classes, and weights with which the network is sure of some of them only.
SIX_BOXES = (
    (0, 0, 20, 20),
    (150, 50, 300, 200),
    (10, 150, 140, 290),
    (10, 10, 100, 100),
    (200, 210, 260, 290),
    (320, 20, 390, 290),
)
SIX_CLASSES = (10, 11, 12, 13, 14, 15)


@pytest.fixture(scope="module")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights of the published architecture, and a folder of one image.

    Some masks of the six boxes are empty, and some have a predicted IoU below 0.25.
    """
    import torch

    from benchmarks.weights import seeded, with_smooth_masks

    folder = tmp_path_factory.mktemp("unsure")
    weights, fresh = with_smooth_masks(), seeded()
    head = "mask_decoder.iou_prediction_head.layers.2."
    weights[f"{head}weight"] = fresh[f"{head}weight"]
    weights[f"{head}bias"] = fresh[f"{head}bias"] + 0.6
    torch.save(weights, folder / "mobile_sam.pt")
    image = np.full((300, 400, 3), 90, np.uint8)
    image[20:100, 20:100] = 200
    image[60:190, 160:290] = (200, 30, 30)
    image[30:280, 330:385] = (30, 200, 30)
    (folder / "photos").mkdir()
    Image.fromarray(image).save(folder / "photos" / "a.png")
    return folder


def test_masks_that_are_missing_shift_no_class(unsure: Path) -> None:
    sam = MobileSAM(unsure / "mobile_sam.pt", precision="fp32", model_dir=unsure)
    boxes = list(zip(SIX_CLASSES, SIX_BOXES, strict=True))
    report = auto_annotate(sam, unsure / "photos", lambda image: boxes)
    rows = [line.split() for line in (report.output / "a.txt").read_text().splitlines()]
    assert tuple(int(row[0]) for row in rows) == SIX_CLASSES
    assert report.rectangles
    result = sam.open(unsure / "photos" / "a.png").segment(bboxes=SIX_BOXES)
    for row, mask, box in zip(rows, result.masks, SIX_BOXES, strict=True):
        ring = np.array(row[1:], float).reshape(-1, 2) * (400, 300)
        centre = (ring.min(axis=0) + ring.max(axis=0)) / 2
        if mask.any():
            y, x = np.nonzero(mask)
            expected = [(x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2]
        else:
            expected = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        assert np.abs(centre - expected).max() < 3


def test_classes_shift_in_ultralytics(unsure: Path, tmp_path: Path) -> None:
    """What docs/ultralytics.md says about Ultralytics 8.4.190: its own code, another detector."""
    program = f"""
from pathlib import Path
import torch
from ultralytics.data import annotator

class Boxes:
    cls = torch.tensor({SIX_CLASSES})
    xyxy = torch.tensor({SIX_BOXES}, dtype=torch.float32)

class Detected:
    boxes = Boxes
    def __init__(self, path):
        import cv2
        self.orig_img = cv2.imread(str(path))

class Detector:
    def __init__(self, name):
        self.predictor = type("Predictor", (), {{"txt_path": Path("a")}})
    def __call__(self, folder, **options):
        yield Detected(folder / "a.png")

annotator.YOLO = Detector
annotator.auto_annotate({str(unsure / "photos")!r}, "none.pt", {str(unsure / "mobile_sam.pt")!r},
                        output_dir={str(tmp_path)!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={
            **os.environ,  # noqa: TID251
            "YOLO_CONFIG_DIR": str(tmp_path),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in (tmp_path / "a.txt").read_text().splitlines()]
    wrong = []
    for row in rows:
        ring = np.array(row[1:], float).reshape(-1, 2) * (400, 300)
        x, y = (ring.min(axis=0) + ring.max(axis=0)) / 2
        x0, y0, x1, y1 = SIX_BOXES[SIX_CLASSES.index(int(row[0]))]
        wrong.append(not (x0 <= x <= x1 and y0 <= y <= y1))
    assert len(rows) < len(SIX_BOXES)
    assert any(wrong)
