"""A full-size mask in few bytes, so that hundreds of masks of a large image fit in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.cleanup import box_around

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PackedMask:
    """The bits of a mask inside the box around its object.

    The box begins and ends at a whole byte of each row. So the bytes of two masks cover the same
    pixels where their boxes overlap.

    Attributes:
        bits: rows x bytes uint8, one bit for each pixel, the first pixel in the highest bit.
        top: the first row.
        first_byte: the first byte of each row; byte b covers the columns from 8 b on.
        area: the number of pixels on the object.
        size: (H, W) of the mask.
    """

    bits: npt.NDArray[np.uint8]
    top: int
    first_byte: int
    area: int
    size: tuple[int, int]

    @classmethod
    def pack(cls, mask: Mask) -> PackedMask:
        """Pack a mask, H x W."""
        size = mask.shape[0], mask.shape[1]
        box = box_around(mask)
        if box is None:
            return cls(np.zeros((0, 0), np.uint8), 0, 0, 0, size)
        left, top, width, height = box
        first_byte = left // 8
        part = mask[top : top + height, 8 * first_byte : left + width]
        bits = np.packbits(part, axis=1)
        return cls(bits, top, first_byte, int(np.bitwise_count(bits).sum()), size)

    def unpack(self) -> Mask:
        """The mask, H x W, a new array."""
        mask = np.zeros(self.size, dtype=np.bool_)
        rows, count = self.bits.shape
        left = 8 * self.first_byte
        part = mask[self.top : self.top + rows, left : left + 8 * count]
        part[:] = np.unpackbits(self.bits, axis=1, count=part.shape[1]).view(np.bool_)
        return mask

    def iou(self, other: PackedMask) -> float:
        """The intersection over the union with another mask of the same size."""
        top = max(self.top, other.top)
        bottom = min(self.top + len(self.bits), other.top + len(other.bits))
        first = max(self.first_byte, other.first_byte)
        last = min(mask.first_byte + mask.bits.shape[1] for mask in (self, other))
        if top >= bottom or first >= last:
            return 0.0
        ours, theirs = (
            mask.bits[
                top - mask.top : bottom - mask.top, first - mask.first_byte : last - mask.first_byte
            ]
            for mask in (self, other)
        )
        shared = int(np.bitwise_count(ours & theirs).sum())
        return shared / (self.area + other.area - shared)
