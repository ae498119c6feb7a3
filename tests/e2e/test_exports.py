"""From clicks to the files that Label Studio exports: what each example promises is in them."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from demo.backend import ROOT, Backend
from demo.editor import Editor
from demo.label_studio import LabelStudio

SCREENSHOTS = Path(__file__).parent / "screenshots"
WIDTH, HEIGHT = 900, 600
DISC = (150, 150, 390, 390)


def picture() -> bytes:
    """A red disc and a blue box on grey."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (130, 130, 130))
    draw = ImageDraw.Draw(image)
    draw.ellipse(DISC, fill=(200, 40, 40))
    draw.rectangle((540, 200, 780, 440), fill=(40, 70, 200))
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def annotated(label_studio: LabelStudio, backend: Backend, editor: Editor, example: str) -> int:
    """A project with a mask of the disc, labelled Other, that an annotator made; returns its id."""
    config = (ROOT / "examples" / f"{example}.xml").read_text()
    project_id = label_studio.create_project(f"exports of {example}", config)
    label_studio.upload(project_id, {"a.png": picture()})
    label_studio.connect(project_id, backend.url)
    (task,) = label_studio.tasks(project_id)
    editor.open(project_id, task["id"])
    editor.choose("KeyPoint", "Other")
    editor.click(30, 45)
    editor.accept()
    editor.screenshot(SCREENSHOTS / f"exports-{example}.png")
    editor.submit()
    return project_id


def check_coco(content: bytes) -> None:
    """Every object is on the disc and has the label."""
    coco = json.loads(content)
    classes = {category["id"]: category["name"] for category in coco["categories"]}
    assert coco["annotations"]
    assert {classes[one["category_id"]] for one in coco["annotations"]} == {"Other"}
    x, y, width, height = coco["annotations"][0]["bbox"]
    for found, expected in zip((x, y, x + width, y + height), DISC, strict=True):
        assert abs(found - expected) < 30


def test_polygons(label_studio: LabelStudio, backend: Backend, editor: Editor) -> None:
    project_id = annotated(label_studio, backend, editor, "polygons")
    check_coco(label_studio.export(project_id, "COCO")["result.json"])
    files = label_studio.export(project_id, "YOLO")
    classes = files["classes.txt"].decode().splitlines()
    (labels,) = [content for name, content in files.items() if name[-3:] == "txt" and "/" in name]
    assert {classes[int(line.split()[0])] for line in labels.decode().splitlines()} == {"Other"}


@pytest.mark.parametrize("example", ["keypoints-and-boxes", "labels-with-brush"])
def test_brush_masks(
    label_studio: LabelStudio, backend: Backend, editor: Editor, example: str
) -> None:
    project_id = annotated(label_studio, backend, editor, example)
    check_coco(label_studio.export(project_id, "BRUSH_TO_COCO")["result_coco.json"])
    files = label_studio.export(project_id, "BRUSH_TO_PNG")
    masks = [content for name, content in files.items() if "brush-Other" in name]
    masks = masks or list(files.values())  # a single file comes without its name
    mask = Image.open(BytesIO(masks[0]))
    assert mask.size == (WIDTH, HEIGHT)
    assert mask.getpixel((270, 270)) == 255


def test_boxes(label_studio: LabelStudio, backend: Backend, editor: Editor) -> None:
    project_id = annotated(label_studio, backend, editor, "bounding-boxes")
    check_coco(label_studio.export(project_id, "COCO")["result.json"])
    files = label_studio.export(project_id, "VOC")
    (voc,) = [content for name, content in files.items() if name.endswith(".xml")]
    assert voc.count(b"<name>Other</name>") == 1
