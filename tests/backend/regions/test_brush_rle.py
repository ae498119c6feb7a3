"""Brush RLE, against a picture worked out by hand and against Label Studio's own code."""

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle, mask2rle

from backend.regions import brush_rle


def test_two_by_two_by_hand() -> None:
    """One pixel set, three not: 16 values in 2 runs, four of 255 and twelve of 0."""
    bits = (
        "00000000 00000000 00000000 00010000"  # 16 values
        "00111"  # of 7 + 1 bits
        "0010 0011 0111 1111"  # lengths of 2 + 1, 3 + 1, 7 + 1 or 15 + 1 bits
        "1 00 011 11111111"  # a run with a length of the first kind, 3 + 1 times 255
        "1 01 1011 00000000"  # a run with a length of the second kind, 11 + 1 times 0
        "000000"  # up to a whole byte
    ).replace(" ", "")
    expected = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert brush_rle.encode(np.array([[True, False], [False, False]])) == expected


def masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 70, (120, 2)).tolist()
    shares = rng.choice([0.0, 0.02, 0.5, 0.98, 1.0], 120).tolist()
    drawn = [rng.random(size) < share for size, share in zip(sizes, shares, strict=True)]
    full = [np.full((200, 300), value) for value in (False, True)]  # longer than one run may be
    edges = [np.full((1, length), True) for length in (1, 2, 4, 5, 64, 65, 16384, 16385, 32768)]
    return drawn + full + edges


@pytest.mark.parametrize("mask", masks(), ids=lambda mask: "x".join(map(str, mask.shape)))
def test_label_studio_reads_and_writes_the_same(mask: np.ndarray) -> None:
    rle = brush_rle.encode(mask)
    assert rle == mask2rle(mask.astype(np.uint8) * 255)
    if mask.size < 5000:  # the SDK decodes bit by bit
        decoded = decode_rle(rle).reshape(*mask.shape, 4)
        assert (decoded == mask[..., None] * 255).all()
