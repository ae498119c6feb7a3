"""The pictures of the demo: photographs of scikit-image's package, and two synthetic scenes.

The photographs are read from the installed package and uploaded as they are. ``skimage.data`` names
the source of each: CC0, in the public domain, or without known copyright restrictions (coins).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from training import scenes

_PHOTOGRAPHS = (
    "chelsea.png",
    "coins.png",
    "astronaut.png",
    "rocket.jpg",
    "camera.png",
    "retina.jpg",
    "hubble_deep_field.jpg",
)
_LARGE, _LARGE_SIZE = "coffee.png", (4243, 2829)  # 12 megapixels
_TURNED = "coffee.png"
_EXIF_ORIENTATION = 0x0112
_SHOWN_CLOCKWISE = 6  # a viewer turns the picture by a right angle, clockwise
_SCENES, _SCENE_SIZE = 2, 1024


def pictures() -> dict[str, bytes]:
    """The files of the demo by their names, in the order of the tasks.

    Raises:
        RuntimeError: scikit-image is not installed.
    """
    folder = photograph_folder()
    files = {name: (folder / name).read_bytes() for name in _PHOTOGRAPHS}
    files["coffee-12-megapixels.jpg"] = _enlarged(folder / _LARGE)
    files["coffee-turned-by-exif.jpg"] = _turned(folder / _TURNED)
    for seed in range(_SCENES):
        image = scenes.generate(np.random.default_rng(seed), _SCENE_SIZE).image
        files[f"synthetic-scene-{seed + 1}.jpg"] = _jpeg(Image.fromarray(image))
    return files


def photograph_folder() -> Path:
    """Where scikit-image keeps its pictures.

    Raises:
        RuntimeError: scikit-image is not installed.
    """
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise RuntimeError(
            "scikit-image, whose photographs the demo shows, is not installed: run make demo, or"
            " pip install -r requirements-demo.txt"
        )
    return Path(found.origin).parent / "data"


def _enlarged(path: Path) -> bytes:
    with Image.open(path) as picture:
        return _jpeg(picture.convert("RGB").resize(_LARGE_SIZE, Image.Resampling.BICUBIC))


def _turned(path: Path) -> bytes:
    """The picture lies on its side in the file. Its EXIF tells viewers to show it upright."""
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _SHOWN_CLOCKWISE
    with Image.open(path) as picture:
        lying = picture.convert("RGB").transpose(Image.Transpose.ROTATE_90)
        return _jpeg(lying, {"exif": exif})


def _jpeg(picture: Image.Image, options: Mapping[str, object] | None = None) -> bytes:
    content = BytesIO()
    picture.save(content, "JPEG", quality=92, **(options or {}))
    return content.getvalue()
