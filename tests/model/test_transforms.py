"""Conversions between the original image and the input frame."""

import cv2
import numpy as np
import pytest

from model import transforms


def upsample(low_res_mask: np.ndarray, original: tuple[int, int]) -> np.ndarray:
    """Both bilinear steps."""
    frame = transforms.upsample_to_frame(low_res_mask, original, 1024)
    return transforms.upsample_to_original(frame, original)


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        pytest.param((427, 640), (683, 1024), id="landscape"),
        pytest.param((640, 427), (1024, 683), id="portrait"),
        pytest.param((1, 1), (1024, 1024), id="one-pixel"),
        pytest.param((1, 5000), (1, 1024), id="one-row"),
        pytest.param((3000, 4000), (768, 1024), id="larger"),
    ],
)
def test_input_size(original: tuple[int, int], expected: tuple[int, int]) -> None:
    assert transforms.input_size(original, 1024) == expected
    image = np.zeros((*original, 3), dtype=np.uint8)
    assert transforms.resize_image(image, 1024).shape == (*expected, 3)


@pytest.mark.parametrize("original", [(427, 640), (640, 427), (1, 5000), (3, 2), (2000, 1000)])
def test_a_mask_returns_to_its_place(original: tuple[int, int]) -> None:
    """The left half of the low-res mask, without padding, is the left half of the original."""
    _, width = transforms.input_size(original, 1024)
    low_res_mask = np.where(np.arange(256) + 0.5 < width / 4 / 2, 10.0, -10.0)
    low_res_mask = np.tile(low_res_mask.astype(np.float32), (256, 1))

    mask = upsample(low_res_mask, original)

    assert mask.shape == original
    left = mask.sum(axis=1)
    np.testing.assert_allclose(left, original[1] / 2, atol=0.5 + original[1] / 256)
    assert not mask[:, -1].any()


def test_points_are_scaled_with_the_image() -> None:
    points = np.array([[0, 0], [640, 427], [320, 213.5]], dtype=np.float32)
    found = transforms.points_to_input_frame(points, (427, 640), 1024)
    np.testing.assert_allclose(found, [[0, 0], [1024, 683], [512, 341.5]])


@pytest.mark.parametrize(
    "original",
    [
        pytest.param((720, 1280), id="cut-in-both-directions"),
        pytest.param((400, 600), id="cut-in-one"),
        pytest.param((601, 397), id="cut-in-none"),
        pytest.param((1, 900), id="one-row"),
        pytest.param((3, 2), id="tiny"),
    ],
)
@pytest.mark.parametrize("smoothness", [0.3, 4, 20])
def test_cutting_does_not_change_the_mask(original: tuple[int, int], smoothness: float) -> None:
    """Every bit equals SAM's two steps: upsample to the whole frame, remove padding, upsample."""
    height, width = transforms.input_size(original, 1024)
    noise = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    everywhere = cv2.GaussianBlur(noise, (0, 0), smoothness)
    somewhere = np.full_like(everywhere, -1)
    area = slice(height // 12, height // 6), slice(width // 12, width // 6)
    somewhere[area] = everywhere[area]
    for low_res_mask in (everywhere, somewhere, np.full_like(noise, -1), np.ones_like(noise)):
        frame = cv2.resize(low_res_mask, (1024, 1024), interpolation=cv2.INTER_LINEAR)
        inside = np.ascontiguousarray(frame[:height, :width])
        logits = cv2.resize(inside, original[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(upsample(low_res_mask, original), logits > 0)
