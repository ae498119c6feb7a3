"""Brush RLE, against a picture worked out by hand and against Label Studio's own code."""

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle, mask2rle

from model.formats import brush_rle


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
    assert (brush_rle.decode(rle, mask.shape) == mask).all()
    if mask.size < 5000:  # the SDK decodes bit by bit
        decoded = decode_rle(rle).reshape(*mask.shape, 4)
        assert (decoded == mask[..., None] * 255).all()


def as_bytes(bits: str) -> list[int]:
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def with_single_values(values: np.ndarray, seed: int) -> list[int]:
    """A brush RLE as the editor may write one: some runs, and some values one by one."""
    rng = np.random.default_rng(seed)
    bits = f"{values.size:032b}00111" + "0010" + "0011" + "0111" + "1111"
    flat, place = values.reshape(-1), 0
    while place < flat.size:
        kind = int(rng.integers(4))
        length = int(rng.integers(1, min(1 << (3, 4, 8, 16)[kind], flat.size - place) + 1))
        piece = flat[place : place + length]
        is_run = (piece == piece[0]).all()
        bits += f"{is_run:b}{kind:02b}" + f"{length - 1:0{(3, 4, 8, 16)[kind]}b}"
        bits += "".join(f"{value:08b}" for value in (piece[:1] if is_run else piece))
        place += length
    return as_bytes(bits)


@pytest.mark.parametrize("seed", range(8))
def test_pictures_with_soft_edges(seed: int) -> None:
    """Every pixel that is opaque by half or more belongs to the mask."""
    rng = np.random.default_rng(seed)
    picture = rng.choice([0, 0, 0, 1, 127, 128, 255], (20, 31, 4)).astype(np.uint8)
    picture[5:12] = 0 if seed % 2 else 255
    rle = with_single_values(picture, seed)
    assert (decode_rle(rle).reshape(picture.shape) == picture).all()
    assert (brush_rle.decode(rle, (20, 31)) == (picture[..., 3] > 127)).all()


@pytest.mark.parametrize(
    ("rle", "sentence"),
    [
        pytest.param([], "ends too early", id="empty"),
        pytest.param(brush_rle.encode(np.eye(9, dtype=bool))[:-9], "ends too early", id="cut"),
        pytest.param(
            with_single_values(np.arange(324) % 250, 0)[:-30], "ends too early", id="cut2"
        ),
        pytest.param(brush_rle.encode(np.eye(8, dtype=bool)), "is of another image", id="size"),
        pytest.param(
            as_bytes(f"{9 * 9 * 4:032b}00111" + "0010001101111111" + "111" + "1" * 24),
            "more values than it says",
            id="too long",
        ),
        pytest.param([0, 0, 1, 300], "whole numbers from 0 to 255", id="no byte"),
        pytest.param(["a"], "whole numbers from 0 to 255", id="text"),
    ],
)
def test_damage_is_told(rle: list[int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        brush_rle.decode(rle, (9, 9))
