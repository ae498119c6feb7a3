"""A small object costs another encode, once, and a mask even where that encode fails."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image, ImageDraw

from demo.smart_regions import predict_request, rectangle

WIDTH, HEIGHT = 900, 600
DISC = (188, 138, 212, 162)
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image" smart="true"><Label value="Object"/>'
    "</RectangleLabels></View>"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def backend(folder: Path, start_backend, serve: Callable[[Path], str]):
    return start_backend(LABEL_STUDIO_URL=serve(folder))


@pytest.fixture
def image(folder: Path, request: pytest.FixtureRequest) -> Path:
    """A small red disc on grey, in a file of its own."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (120, 120, 120))
    ImageDraw.Draw(picture).ellipse(DISC, fill=(210, 50, 40))
    path = folder / f"{request.node.name}.png"
    picture.save(path)
    return path


@pytest.fixture
def ask(backend, image: Path) -> Callable[..., np.ndarray]:
    """Draws a box around the disc; gives the mask."""

    def draw(config: str = CONFIG) -> np.ndarray:
        left, top, right, bottom = DISC
        region = rectangle(
            100 * left / WIDTH,
            100 * top / HEIGHT,
            100 * (right - left + 1) / WIDTH,
            100 * (bottom - top + 1) / HEIGHT,
            width=WIDTH,
            height=HEIGHT,
        )
        url = f"{backend.settings['LABEL_STUDIO_URL']}/{image.name}"
        body = predict_request({"id": 7, "data": {"image": url}}, config, region)
        (prediction,) = backend.client.post("/predict", json=body).json()["results"]
        (found,) = prediction["result"]
        return decode_rle(found["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[..., 3] > 0

    return draw


def iou(mask: np.ndarray) -> float:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    target = (columns - 200) ** 2 + (rows - 150) ** 2 <= 12**2
    return np.count_nonzero(mask & target) / np.count_nonzero(mask | target)


def encodes(backend) -> tuple[float, float]:
    """Of images, and of crops."""
    return backend.count("mobilesam_encodes_total"), backend.count("mobilesam_crop_encodes_total")


def test_a_small_object_is_encoded_by_itself_once(backend, ask: Callable) -> None:
    images, crops = encodes(backend)
    mask = ask()
    assert encodes(backend) == (images + 1, crops + 1)
    np.testing.assert_array_equal(ask(), mask)
    assert encodes(backend) == (images + 1, crops + 1)
    assert iou(mask) > 0.85


def test_the_config_can_do_without(backend, ask: Callable) -> None:
    images, crops = encodes(backend)
    mask = ask(CONFIG.replace("<BrushLabels ", '<BrushLabels model_crop_refinement="false" '))
    assert encodes(backend) == (images + 1, crops)
    assert iou(ask()) > iou(mask)


@pytest.mark.parametrize("change", ["gone", "another"])
def test_the_coarse_mask_stays_when_the_image_is_not_available_any_more(
    backend, image: Path, ask: Callable, change: str
) -> None:
    images, _ = encodes(backend)
    task = {"id": 7, "data": {"image": f"{backend.settings['LABEL_STUDIO_URL']}/{image.name}"}}
    opened = {"tasks": [task], "label_config": CONFIG, "params": {"context": None}}
    backend.client.post("/predict", json=opened)
    backend.wait_for("mobilesam_encodes_total", images + 1)
    once = ask(CONFIG.replace("<BrushLabels ", '<BrushLabels model_crop_refinement="false" '))
    if change == "gone":
        image.unlink()
    else:
        Image.new("RGB", (30, 20)).save(image)
    np.testing.assert_array_equal(ask(), once)
    assert "task 7: a small object was not refined in a crop: " in backend.log


def test_the_image_of_a_click_is_fetched_once(backend, image: Path, ask: Callable) -> None:
    once = ask(CONFIG.replace("<BrushLabels ", '<BrushLabels model_crop_refinement="false" '))
    image.unlink()
    assert iou(ask()) > iou(once)
