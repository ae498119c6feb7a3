"""Packed masks: the same pixels again, and their IoU without unpacking."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.packed_mask import PackedMask


def random_mask(seed: int, height: int, width: int) -> np.ndarray:
    """Pixels in a part of the mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=bool)
    (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in mask.shape)
    mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) < 0.6
    return mask


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seeds=st.tuples(st.integers(0, 999), st.integers(0, 999)),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_masks_and_ious(seeds: tuple[int, int], height: int, width: int) -> None:
    one, other = (random_mask(seed, height, width) for seed in seeds)
    packed, packed_other = PackedMask.pack(one), PackedMask.pack(other)
    assert packed.area == np.count_nonzero(one)
    np.testing.assert_array_equal(packed.unpack(), one)
    union = np.count_nonzero(one | other)
    expected = np.count_nonzero(one & other) / union if union else 0
    assert packed.iou(packed_other) == pytest.approx(expected)


def test_a_small_object_in_a_large_image_takes_little_memory() -> None:
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[1500:1600, 2000:2100] = True
    assert PackedMask.pack(mask).bits.nbytes < 2000
