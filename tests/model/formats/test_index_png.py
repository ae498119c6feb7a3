"""PNG files of masks, read by Pillow and OpenCV."""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from model.formats.index_png import class_map, encode_index_png, encode_mask, palette


def test_the_smallest_object_lies_on_top() -> None:
    large, small = np.zeros((5, 8), dtype=bool), np.zeros((5, 8), dtype=bool)
    large[1:, :6] = small[2:4, 4:7] = True
    expected = np.where(small, 9, np.where(large, 200, 0))
    for order in (1, -1):
        masks, classes = [large, small][::order], [200, 9][::order]
        np.testing.assert_array_equal(class_map(masks, classes, (5, 8)), expected)
    assert not class_map([], [], (5, 8)).any()


def test_pixel_values_are_classes_and_colours_tell_them_apart() -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(8, 32)
    with Image.open(BytesIO(encode_index_png(indices))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), indices)
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    np.testing.assert_array_equal(colors, palette())
    assert len(np.unique(colors, axis=0)) == 256
    assert colors[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]


def test_a_mask_is_black_and_white(mask: np.ndarray) -> None:
    content = np.frombuffer(encode_mask(mask), dtype=np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), mask * 255)
