"""YOLO's label files, drawn by Ultralytics' own loader and as it draws them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from model.formats import yolo
from model.formats.polygons import trace

SIZE = HEIGHT, WIDTH = 120, 160


def drawn(row: str, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The ring of a row as Ultralytics draws it."""
    shares = np.array(row.split()[1:], dtype=np.float32).reshape(-1, 2)
    pixels = shares * np.array(size[::-1], dtype=np.float32)
    canvas = np.zeros(size, dtype=np.uint8)
    cv2.fillPoly(canvas, [pixels.astype(np.int32)], color=(1,))
    return canvas > 0


def parts(mask: np.ndarray) -> int:
    found: int = ndimage.label(mask, np.ones((3, 3)))[1]
    return found


def test_an_object_of_one_part_is_drawn_exactly(mask: np.ndarray) -> None:
    """Its holes too. A line between two parts is one pixel wide."""
    rings = yolo.rings_of(mask)
    found = drawn(yolo.row(3, rings, SIZE))
    assert found[mask].all()
    assert len(rings) == sum(1 + len(polygon.holes) for polygon in trace(mask))
    if parts(mask) == 1:
        np.testing.assert_array_equal(found, mask)
    else:
        lines = ndimage.binary_opening(found & ~mask, np.ones((3, 3)))
        assert not lines.any()
        assert parts(found) == 1


def test_at_half_the_size_it_is_nearly_so(masks: dict[str, np.ndarray]) -> None:
    row = yolo.row(0, yolo.rings_of(masks["two holes"]), SIZE)
    half = cv2.resize(masks["two holes"].astype(np.float32), (80, 60), interpolation=cv2.INTER_AREA)
    wrong = drawn(row, (60, 80)) ^ (half >= 0.5)
    edge = (half > 0) & (half < 1)
    assert not (wrong & ~edge).any()


def test_with_a_tolerance_rows_are_shorter(masks: dict[str, np.ndarray]) -> None:
    mask = masks["hole"]
    exact, coarse = (yolo.row(0, yolo.rings_of(mask, tolerance), SIZE) for tolerance in (0, 1))
    assert len(coarse) < len(exact) / 3
    near_the_edge = ndimage.binary_dilation(mask, iterations=2) & ~ndimage.binary_erosion(
        mask, iterations=2
    )
    assert not ((drawn(coarse) ^ mask) & ~near_the_edge).any()
    thin = yolo.row(0, yolo.rings_of(masks["border"], 5), SIZE)
    shares = np.array(thin.split()[1:], dtype=float)
    assert shares.min() >= 0 and shares.max() <= 1


def test_a_row_is_the_class_and_shares_of_the_image() -> None:
    square = np.array([[16.0, 12], [32, 12], [32, 60]])
    expected = "3 0.100000 0.100000 0.200000 0.100000 0.200000 0.500000"
    assert yolo.row(3, [square], SIZE) == expected


def test_ultralytics_loads_the_same_masks(
    tmp_path: Path, masks: dict[str, np.ndarray], load_yolo: Callable[..., dict[str, Any]]
) -> None:
    classes = ["Cat", 'say "no": #1', "ü"]
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text(yolo.data_yaml(classes, "images"))
    for name, mask in masks.items():
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / f"{name}.png")
        row = yolo.row(len(name) % 3, yolo.rings_of(mask), SIZE)
        (tmp_path / "labels" / f"{name}.txt").write_text(row + "\n")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "empty.png")
    (tmp_path / "labels" / "empty.txt").write_text("")
    loaded = load_yolo(tmp_path, WIDTH)
    assert set(loaded) == {*masks, "empty"}
    assert not loaded["empty"]["masks"].any()
    for name, mask in masks.items():
        found = loaded[name]["masks"][0]
        assert found[mask].all()
        assert parts(mask) > 1 or (found == mask).all(), name
        assert loaded[name]["cls"].tolist() == [[len(name) % 3]]
