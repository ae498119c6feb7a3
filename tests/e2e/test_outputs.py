"""Every kind of region that a config can ask for, accepted and saved in the real editor."""

import base64
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image, ImageDraw

from demo.backend import ROOT, Backend
from demo.editor import Editor
from demo.label_studio import LabelStudio

SCREENSHOTS = Path(__file__).parent / "screenshots"
WIDTH, HEIGHT = 900, 600
DISC = (150, 150, 390, 390)
BOX = (540, 200, 780, 440)

KEYPOINTS = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
LABELS = """<View><Image name="image" value="$image"/>
  <Labels name="labels" toName="image"><Label value="Object"/><Label value="Other"/></Labels>
  <Brush name="shape" toName="image" smart="false"/>
  <KeyPoint name="point" toName="image" smart="true"/></View>"""


def example(name: str) -> str:
    return (ROOT / "examples" / name).read_text()


def picture(disc: tuple[int, ...] = DISC, box: tuple[int, ...] = BOX) -> bytes:
    """A red disc and a blue box on grey."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (130, 130, 130))
    draw = ImageDraw.Draw(image)
    draw.ellipse(disc, fill=(200, 40, 40))
    draw.rectangle(box, fill=(40, 70, 200))
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def project(
    label_studio: LabelStudio, backend: Backend, config: str, images: list[bytes]
) -> tuple[int, list[dict], int]:
    """A connected project; returns its id, its tasks and Label Studio's id of the backend."""
    project_id = label_studio.create_project("outputs", config)
    label_studio.upload(project_id, {f"{number}.png": image for number, image in enumerate(images)})
    backend_id = label_studio.connect(project_id, backend.url)
    return project_id, label_studio.tasks(project_id), backend_id


def drawn(region: dict) -> np.ndarray:
    """The pixels of a saved region."""
    width, height = region["original_width"], region["original_height"]
    value, mask = region["value"], np.zeros((height, width), np.uint8)
    scale = np.array([width, height]) / 100
    if "rle" in value:
        return decode_rle(value["rle"]).reshape(height, width, 4)[..., 3] > 0
    if "imageDataURL" in value:
        content = base64.b64decode(value["imageDataURL"].partition(",")[2])
        return np.asarray(Image.open(BytesIO(content)).convert("RGBA"))[..., 3] > 127
    if "points" in value:
        cv2.fillPoly(mask, [(np.array(value["points"]) * scale).round().astype(np.int32)], 1)
    elif "radiusX" in value:
        centre = (value["x"], value["y"]) * scale
        axes = (value["radiusX"], value["radiusY"]) * scale
        centre, axes = centre.round().astype(int).tolist(), axes.round().astype(int).tolist()
        cv2.ellipse(mask, centre, axes, value["rotation"], 0, 360, 1, -1)
    else:
        left, top = ((value["x"], value["y"]) * scale).round().astype(int)
        right, bottom = (value["width"], value["height"]) * scale + (left, top)
        mask[top : round(bottom), left : round(right)] = 1
    return mask > 0


def on_disc(size: tuple[int, int], disc: tuple[int, ...] = DISC) -> np.ndarray:
    image = Image.new("1", size[::-1])
    ImageDraw.Draw(image).ellipse(disc, fill=1)
    return np.asarray(image)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


def saved(label_studio: LabelStudio, task: dict, kind: str) -> list[dict]:
    (annotation,) = label_studio.annotations(task["id"])
    return [region for region in annotation["result"] if region["type"] == kind]


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        pytest.param("polygonlabels", example("polygons.xml"), id="polygon"),
        pytest.param("bitmasklabels", example("bitmasks.xml"), id="bitmask"),
        pytest.param(
            "ellipselabels", KEYPOINTS.replace("BrushLabels", "EllipseLabels"), id="ellipse"
        ),
        pytest.param(
            "rectanglelabels",
            KEYPOINTS.replace("RectangleLabels", "PolygonLabels")
            .replace('"box" toName="image" smart="true"', '"polygon" toName="image" smart="false"')
            .replace("BrushLabels", "RectangleLabels")
            .replace("<PolygonLabels", '<PolygonLabels model_output="false"'),
            id="rectangle",
        ),
    ],
)
def test_the_kind_of_the_config(
    label_studio: LabelStudio, backend: Backend, editor: Editor, kind: str, config: str
) -> None:
    project_id, (task,), _ = project(label_studio, backend, config, [picture()])
    editor.open(project_id, task["id"])
    editor.choose("KeyPoint", "Other")
    predicted = editor.click(30, 45)["result"]
    editor.screenshot(SCREENSHOTS / f"{kind}.png")
    editor.accept()
    editor.submit()

    regions = saved(label_studio, task, kind)
    assert [region["id"] for region in regions] == [region["id"] for region in predicted]
    for region in regions:
        assert region["value"][kind] == ["Other"]
        assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)
    assert iou(drawn(regions[0]), drawn(predicted[0])) > 0.99
    assert drawn(regions[0])[270, 270]


@pytest.mark.parametrize("kind", ["brush", "polygon", "bitmask", "ellipse"])
def test_labels_beside_the_shape(
    label_studio: LabelStudio, backend: Backend, editor: Editor, kind: str
) -> None:
    config = LABELS.replace("<Brush ", f"<{kind.title()} ")
    project_id, (task,), _ = project(label_studio, backend, config, [picture()])
    editor.open(project_id, task["id"])
    editor.choose("KeyPoint", "Other")
    predicted = editor.click(30, 45)["result"]
    editor.screenshot(SCREENSHOTS / f"labels-{kind}.png")
    editor.accept()
    editor.submit()

    shapes = saved(label_studio, task, kind)
    labels = {region["id"]: region for region in saved(label_studio, task, "labels")}
    assert shapes
    assert {shape["id"] for shape in shapes} == {region["id"] for region in predicted}
    for shape in shapes:
        assert labels[shape["id"]]["value"]["labels"] == ["Other"]
    assert drawn(shapes[0])[270, 270]


def test_a_negative_click_takes_away_what_it_is_on(
    label_studio: LabelStudio, backend: Backend, editor: Editor
) -> None:
    project_id, (task,), _ = project(label_studio, backend, KEYPOINTS, [picture()])
    editor.open(project_id, task["id"])
    editor.choose("KeyPoint", "Object")
    editor.click(30, 45)
    editor.choose("KeyPoint", "Object")
    both = drawn(editor.click(73, 53)["result"][0])
    assert both[270, 270]
    assert both[318, 657]
    editor.choose("KeyPoint", "Object")
    editor.click(70, 50, negative=True)
    editor.screenshot(SCREENSHOTS / "negative.png")
    editor.accept()
    editor.submit()

    (region,) = saved(label_studio, task, "brushlabels")
    mask = drawn(region)
    assert mask[270, 270]
    assert mask[318, 657]
    assert not mask[300, 630]


def test_each_object_keeps_its_label(
    label_studio: LabelStudio, backend: Backend, editor: Editor
) -> None:
    """The clicks of the label before are not those of the next object."""
    project_id, (task,), _ = project(label_studio, backend, KEYPOINTS, [picture()])
    editor.open(project_id, task["id"])
    editor.choose("KeyPoint", "Object")
    editor.click(30, 45)
    editor.accept()
    editor.choose("KeyPoint", "Other")
    editor.click(73, 53)
    editor.screenshot(SCREENSHOTS / "other-label.png")
    editor.accept()
    editor.submit()

    disc, box = saved(label_studio, task, "brushlabels")
    assert disc["value"]["brushlabels"] == ["Object"]
    assert box["value"]["brushlabels"] == ["Other"]
    assert drawn(disc)[270, 270]
    assert not drawn(disc)[318, 657]
    assert drawn(box)[318, 657]
    assert not drawn(box)[270, 270]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_view(
    label_studio: LabelStudio, backend: Backend, editor: Editor, turns: int
) -> None:
    """Clicks and boxes on the turned image hit what the annotator sees there."""
    config = KEYPOINTS.replace('zoom="true"', 'zoom="true" rotateControl="true"')
    project_id, (task,), _ = project(label_studio, backend, config, [picture()])
    editor.open(project_id, task["id"])
    for _ in range(turns):
        editor.rotate()
    editor.choose("KeyPoint", "Object")
    editor.click(30, 45)
    editor.screenshot(SCREENSHOTS / f"turned-{turns * 90}-click.png")
    editor.accept()
    editor.choose("Rectangle", "Other")
    editor.drag(59, 32, 88, 75)
    editor.screenshot(SCREENSHOTS / f"turned-{turns * 90}-box.png")
    editor.accept()
    editor.submit()

    clicked, boxed = saved(label_studio, task, "brushlabels")
    for region in (clicked, boxed):
        assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)
        assert region["image_rotation"] == turns * 90
    assert drawn(clicked)[270, 270]
    rows, columns = np.nonzero(drawn(boxed))
    assert abs(columns.mean() - 660) < 40
    assert abs(rows.mean() - 320) < 40


def test_a_list_of_images(label_studio: LabelStudio, backend: Backend, editor: Editor) -> None:
    other_disc = (500, 300, 740, 540)
    images = [picture(), picture(disc=other_disc, box=(50, 50, 200, 200))]
    _, tasks, _ = project(label_studio, backend, KEYPOINTS, images)
    project_id = label_studio.create_project("pages", example("pages.xml"))
    label_studio.connect(project_id, backend.url)
    pages = [task["data"]["image"] for task in tasks]
    label_studio.import_tasks(project_id, [{"data": {"pages": pages}}])
    (task,) = label_studio.tasks(project_id)

    editor.open(project_id, task["id"])
    editor.turn_to_page(1)
    editor.choose("KeyPoint", "Object")
    editor.click(69, 70)
    editor.screenshot(SCREENSHOTS / "page-2.png")
    editor.accept()
    editor.submit()

    (region,) = saved(label_studio, task, "brushlabels")
    assert region["item_index"] == 1
    assert iou(drawn(region), on_disc((HEIGHT, WIDTH), other_disc)) > 0.5


def test_errors_of_the_coming_editor_pass_through_label_studio(
    label_studio: LabelStudio, backend: Backend
) -> None:
    _, (task,), backend_id = project(label_studio, backend, KEYPOINTS, [picture()])

    def click(positive: bool) -> dict:
        value = {"x": 30, "y": 45, "positive": positive}
        context = {"result": [{"type": "keypointlabels", "value": value}]}
        return label_studio.ask(backend_id, task["id"], context)

    (region,) = click(positive=True)["data"]["result"]
    assert drawn(region)[270, 270]
    (error,) = click(positive=False)["errors"]
    assert "only negative points were placed: place a positive one on the object first" in error
