"""From a click to a saved mask, as the annotator does it."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image, ImageDraw
from playwright.sync_api import Browser

from demo.backend import ROOT, Backend
from demo.editor import Editor
from demo.label_studio import LabelStudio

SCREENSHOTS = Path(__file__).parent / "screenshots"
WIDTH, HEIGHT = 900, 600


def picture(**options: object) -> bytes:
    """A red disc around (30 %, 45 %) and a blue box around (73 %, 53 %) on grey, 900 x 600."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (130, 130, 130))
    draw = ImageDraw.Draw(image)
    draw.ellipse((150, 150, 390, 390), fill=(200, 40, 40))
    draw.rectangle((540, 200, 780, 440), fill=(40, 70, 200))
    content = BytesIO()
    image.save(content, "JPEG", quality=95, **options)
    return content.getvalue()


def mask(region: dict) -> np.ndarray:
    channels = decode_rle(region["value"]["rle"])
    return channels.reshape(region["original_height"], region["original_width"], 4)[..., 3] > 0


def project(
    label_studio: LabelStudio, backend: Backend, config: str, image: bytes
) -> tuple[int, int]:
    """A connected project of one task; returns both ids."""
    text = (ROOT / "examples" / config).read_text()
    project_id = label_studio.create_project(config, text)
    label_studio.upload(project_id, {"picture.jpg": image})
    label_studio.connect(project_id, backend.url)
    (task,) = label_studio.tasks(project_id)
    return project_id, task["id"]


def saved(label_studio: LabelStudio, task_id: int) -> list[dict]:
    (annotation,) = label_studio.annotations(task_id)
    return annotation["result"]


def test_clicks_and_a_rectangle(
    label_studio: LabelStudio, backend: Backend, editor: Editor
) -> None:
    """+, +, Alt -, accept, rectangle of another label, accept, submit: saved as predicted."""
    project_id, task_id = project(label_studio, backend, "keypoints-and-boxes.xml", picture())
    editor.open(project_id, task_id)
    editor.choose("KeyPoint", "Object")
    one = editor.click(30, 45)
    editor.choose("KeyPoint", "Object")
    editor.click(34, 50)
    editor.choose("KeyPoint", "Object")
    clicked = editor.click(60, 20, negative=True)
    editor.screenshot(SCREENSHOTS / "clicked.png")
    editor.accept()
    editor.choose("Rectangle", "Other")
    boxed = editor.drag(59, 32, 88, 75)
    editor.screenshot(SCREENSHOTS / "boxed.png")
    editor.accept()
    editor.submit()

    assert one["model_version"] == "mobile-sam-builtin"
    predicted = {region["id"]: region for region in clicked["result"] + boxed["result"]}
    brushes = {
        region["id"]: region
        for region in saved(label_studio, task_id)
        if region["type"] == "brushlabels"
    }
    assert brushes.keys() == predicted.keys()
    for region_id, region in brushes.items():
        assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)
        np.testing.assert_array_equal(mask(region), mask(predicted[region_id]))
        assert region["score"] == pytest.approx(predicted[region_id]["score"])
    labels = [predicted[key]["value"]["brushlabels"] for key in predicted]
    assert labels == [["Object"], ["Other"]]
    assert [brushes[key]["value"]["brushlabels"] for key in predicted] == labels


@pytest.mark.parametrize("config", ["keypoints-and-boxes.xml", "bitmasks.xml"])
def test_the_icon_then_the_first_row_then_an_object(
    label_studio: LabelStudio, backend: Backend, browser: Browser, config: str
) -> None:
    """The first row belongs to the points. A row of the masks would put the tool away."""
    window = Editor(label_studio.url, browser)  # a new window remembers no tool
    window.log_in()
    window.open(*project(label_studio, backend, config, picture()))
    window.choose_first("Other")
    (region,) = window.click(30, 45)["result"]
    assert region["value"][region["type"]] == ["Other"]


def test_labels_with_brush(label_studio: LabelStudio, backend: Backend, editor: Editor) -> None:
    """A label chosen in Labels, once for points and boxes, is the label of the mask."""
    project_id, task_id = project(label_studio, backend, "labels-with-brush.xml", picture())
    editor.open(project_id, task_id)
    editor.choose("KeyPoint", "Other")
    clicked = editor.click(30, 45)
    editor.screenshot(SCREENSHOTS / "labels.png")
    editor.accept()
    editor.choose("Rectangle", "Object")
    boxed = editor.drag(59, 32, 88, 75)
    editor.accept()
    editor.submit()

    brushes = [r for r in saved(label_studio, task_id) if r["type"] == "brushlabels"]
    assert [brush["value"]["brushlabels"] for brush in brushes] == [["Other"], ["Object"]]
    for brush, predicted in zip(brushes, clicked["result"] + boxed["result"], strict=True):
        np.testing.assert_array_equal(mask(brush), mask(predicted))


def test_exif_orientation(label_studio: LabelStudio, backend: Backend, editor: Editor) -> None:
    """A photograph that a phone stored lying: the mask has the size that the annotator sees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    project_id, task_id = project(
        label_studio, backend, "keypoints-and-boxes.xml", picture(exif=exif)
    )
    editor.open(project_id, task_id)
    editor.choose("KeyPoint", "Object")
    editor.click(55, 30)  # on the disc, which is at the top now
    editor.screenshot(SCREENSHOTS / "exif.png")
    editor.accept()
    editor.submit()

    (brush,) = [r for r in saved(label_studio, task_id) if r["type"] == "brushlabels"]
    assert (brush["original_width"], brush["original_height"]) == (HEIGHT, WIDTH)
    assert mask(brush).shape == (WIDTH, HEIGHT)
    assert mask(brush)[int(0.30 * WIDTH), int(0.55 * HEIGHT)]
