"""A click on an image whose file was replaced: the mask is of the new picture. Real backends."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image" smart="true"><Label value="Object"/>'
    "</RectangleLabels></View>"
)


def draw(path: Path, radius: int) -> None:
    """A red disc on grey as BMP: the size of the file does not depend on the radius."""
    picture = Image.new("RGB", (300, 200), (120, 120, 120))
    box = (150 - radius, 100 - radius, 150 + radius, 100 + radius)
    ImageDraw.Draw(picture).ellipse(box, fill=(210, 50, 40))
    picture.save(path)


def click(backend, url: str) -> list[int]:
    """The RLE of the mask that a box brings."""
    value = {"x": 20, "y": 10, "width": 60, "height": 80, "rectanglelabels": ["Object"]}
    region = {
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "original_width": 300,
        "original_height": 200,
        "value": value,
    }
    body = {
        "tasks": [{"id": 1, "data": {"image": url}}],
        "project": "1.1",
        "label_config": CONFIG,
        "params": {"context": {"result": [region]}},
    }
    (prediction,) = backend.client.post("/predict", json=body).json()["results"]
    rle: list[int] = prediction["result"][0]["value"]["rle"]
    return rle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    draw(folder / "picture.bmp", 40)
    draw(folder / "other.bmp", 70)
    return folder


def test_behind_http_and_from_the_disk_cache(
    folder: Path, tmp_path: Path, start_backend, serve: Callable[[Path], str]
) -> None:
    url, cache = serve(folder), str(tmp_path / "cache")
    backend = start_backend(CACHE_DIR=cache)
    old, new = click(backend, f"{url}/picture.bmp"), click(backend, f"{url}/other.bmp")
    assert old != new
    draw(folder / "picture.bmp", 70)
    deadline = time.monotonic() + 30
    while click(backend, f"{url}/picture.bmp") != new:
        assert time.monotonic() < deadline, "the mask is still of the old picture"
        time.sleep(0.1)
    assert "the image was replaced" in backend.log

    draw(folder / "picture.bmp", 40)
    backend = start_backend(CACHE_DIR=cache)  # another process: only the folder remembers
    deadline = time.monotonic() + 30
    while click(backend, f"{url}/picture.bmp") != old:
        assert time.monotonic() < deadline, "the mask is still of the old picture"
        time.sleep(0.1)


def test_in_the_mounted_folder_the_very_next_click(folder: Path, start_backend) -> None:
    backend = start_backend(
        LABEL_STUDIO_URL="http://127.0.0.1:9", LOCAL_FILES_DOCUMENT_ROOT=str(folder), WORKERS="2"
    )
    url = "/data/local-files/?d=picture.bmp"
    old, new = click(backend, url), click(backend, "/data/local-files/?d=other.bmp")
    assert old != new
    for radius, expected in ((70, new), (40, old)):
        draw(folder / "picture.bmp", radius)
        os.utime(folder / "picture.bmp", ns=(radius, radius))
        assert [click(backend, url) for _ in range(4)] == [expected] * 4


def test_an_unchanged_image_is_encoded_once(
    folder: Path, start_backend, serve: Callable[[Path], str]
) -> None:
    backend, url = start_backend(), serve(folder)
    for _ in range(5):
        click(backend, f"{url}/picture.bmp")
        time.sleep(0.4)  # longer than a check holds, in sum
    assert backend.count("mobilesam_encodes_total") == 1
