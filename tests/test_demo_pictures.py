"""The pictures of make demo: photographs as scikit-image holds them, a large and a turned one."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from demo.pictures import photograph_folder, pictures


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return pictures()


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content))


def test_photographs_are_as_the_package_holds_them(files: dict[str, bytes]) -> None:
    own = [name for name in files if (photograph_folder() / name).exists()]
    assert len(own) >= 6
    assert "coins.png" in own
    for name in own:
        assert files[name] == (photograph_folder() / name).read_bytes()


def test_one_has_12_megapixels(files: dict[str, bytes]) -> None:
    width, height = opened(files["coffee-12-megapixels.jpg"]).size
    assert width * height == pytest.approx(12e6, rel=0.01)


def test_one_is_turned_by_exif_and_shown_upright(files: dict[str, bytes]) -> None:
    picture = opened(files["coffee-turned-by-exif.jpg"])
    original = opened((photograph_folder() / "coffee.png").read_bytes()).convert("RGB")
    assert picture.size == original.size[::-1]
    shown = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    assert np.abs(shown - np.asarray(original)).mean() < 4


def test_two_are_synthetic_scenes(files: dict[str, bytes]) -> None:
    scenes = [name for name in files if name.startswith("synthetic")]
    assert [opened(files[name]).size for name in scenes] == [(1024, 1024), (1024, 1024)]
