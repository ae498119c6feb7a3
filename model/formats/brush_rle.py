"""Label Studio's brush RLE: the editor's own format, not COCO's.

The format is thi.ng's rle-pack (https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack)
over the bytes of an RGBA picture, height x width x 4. Here a byte is 255 on the object and 0
elsewhere. The format is a stream of bits, most significant first:

    32 bits  how many values
     5 bits  bits of a value - 1                           (7: bytes)
    4 x 4 b  bits of each kind of length - 1               (2, 3, 7, 15: of 3, 4, 8 and 16 bits)
    runs     bit 1, 2 bits of kind, the length - 1 in the bits of that kind, the value
    others   bit 0, 2 bits of kind, the length - 1 in the bits of that kind, so many values

label_studio_sdk.converter.brush writes the same bytes from a list of every value of the picture,
and imports scipy, nltk and pandas. This module takes the runs of the mask. The SDK reads bit by
bit. The reader here takes a run at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

_CHANNELS = 4
_VALUE_BITS = 8
OPAQUE = 128  # by half or more
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST_RUN = 1 << _LENGTH_BITS[-1]


def encode(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Brush RLE of a mask, H x W: bytes as a list of integers, for JSON."""
    lengths, values = _runs(mask.reshape(-1))
    lengths = lengths * _CHANNELS
    kind = np.searchsorted([1 << bits for bits in _LENGTH_BITS[:-1]], lengths)
    lengths, pieces = _split_long(lengths)
    values, kind = np.repeat(values, pieces), np.repeat(kind, pieces)
    length_bits = np.array(_LENGTH_BITS)[kind]
    codes = ((0b100 | kind) << length_bits | (lengths - 1)) << _VALUE_BITS | values
    code_bits = 3 + length_bits + _VALUE_BITS
    stream = np.concatenate([_header(mask.size * _CHANNELS), _bits(codes, code_bits)])
    # Where the last byte is full, the SDK adds a byte of zeros.
    padded = np.append(stream, np.zeros(8 - len(stream) % 8, dtype=np.uint8))
    rle: list[int] = np.packbits(padded).tolist()
    return rle


def decode(rle: Sequence[int], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask of a brush RLE: the pixels that are opaque by half or more.

    A stroke that somebody drew has soft edges.

    Args:
        rle: bytes, as :func:`encode` or the editor makes them.
        size: (H, W) of the mask.

    Returns:
        H x W.

    Raises:
        ValueError: the RLE is damaged, or is for another number of pixels.
    """
    try:
        content = bytes(rle)
    except (TypeError, ValueError) as error:
        raise ValueError("a brush RLE must be a list of whole numbers from 0 to 255") from error
    mask = np.zeros(size, dtype=np.bool_)
    flat, place = mask.reshape(-1), 0
    for length, values in _pieces(content, mask.size * _CHANNELS):
        pixels = slice(place // _CHANNELS, (place + length) // _CHANNELS)
        if isinstance(values, int):
            flat[pixels] = values >= OPAQUE
        else:  # of four values, the last is the opacity
            flat[pixels] = values[_CHANNELS - 1 - place % _CHANNELS :: _CHANNELS] >= OPAQUE
        place += length
    return mask


def _pieces(content: bytes, count: int) -> Iterator[tuple[int, int | npt.NDArray[np.uint8]]]:
    """The runs of a brush RLE: how many values, and the value of all or the value of each."""
    bits = _BitReader(content)
    found, value_bits = bits.read(32), bits.read(5) + 1
    length_bits = [bits.read(4) + 1 for _ in _LENGTH_BITS]
    if found != count or value_bits != _VALUE_BITS:
        raise ValueError(
            f"the brush RLE has {found} values of {value_bits} bits, and {count} of {_VALUE_BITS}"
            " bits are needed: it is of another image"
        )
    while count > 0:
        is_run, kind = divmod(bits.read(3), 4)
        length = bits.read(length_bits[kind]) + 1
        if length > count:
            raise ValueError("the brush RLE is damaged: it has more values than it says")
        yield length, bits.read(_VALUE_BITS) if is_run else bits.read_bytes(length)
        count -= length


class _BitReader:
    """Reads numbers out of a stream of bits, most significant first."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0  # bits

    def read(self, bits: int) -> int:
        """A number of at most 32 bits."""
        first, skipped = divmod(self._place, 8)
        window = self._content[first : first + 5]
        shift = 8 * len(window) - skipped - bits
        if shift < 0:
            raise ValueError("the brush RLE is damaged: it ends too early")
        self._place += bits
        return int.from_bytes(window) >> shift & (1 << bits) - 1

    def read_bytes(self, count: int) -> npt.NDArray[np.uint8]:
        """The next ``count`` bytes."""
        first, skipped = divmod(self._place, 8)
        window = np.frombuffer(self._content[first : first + count + 1], dtype=np.uint8)
        stream = np.unpackbits(window)[skipped : skipped + 8 * count]
        if len(stream) < 8 * count:
            raise ValueError("the brush RLE is damaged: it ends too early")
        self._place += 8 * count
        return np.packbits(stream)


def _runs(flat: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lengths of the runs of equal values, and the value of each, 255 or 0."""
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, len(flat))
    is_set = (np.arange(len(ends)) % 2 == 0) == flat[0]
    return np.diff(ends, prepend=0), np.where(is_set, 255, 0)


def _split_long(
    lengths: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Runs as pieces that the format can hold, and the number of pieces of each run."""
    pieces = (lengths - 1) // _LONGEST_RUN + 1
    split = np.full(pieces.sum(), _LONGEST_RUN)
    split[pieces.cumsum() - 1] = lengths - (pieces - 1) * _LONGEST_RUN
    return split, pieces


def _header(count: int) -> npt.NDArray[np.uint8]:
    fields = [(count, 32), (_VALUE_BITS - 1, 5), *((bits - 1, 4) for bits in _LENGTH_BITS)]
    codes, code_bits = np.array(fields).T
    return _bits(codes, code_bits)


def _bits(codes: npt.NDArray[np.int64], code_bits: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The lowest ``code_bits`` bits of each code (at most 32), as one stream of 0 and 1."""
    all_bits = np.unpackbits(codes.astype(">u4").view(np.uint8)).reshape(-1, 32)
    return all_bits[np.arange(32) >= 32 - code_bits[:, None]]
