"""Candidates for the masks of all objects: filtered and without duplicates, before upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Candidates:
    """K low-res masks of one image.

    Attributes:
        logits: K x h x w float16, the part of the low-res masks that shows the image and no
            padding.
        iou_predictions: K.
        bits: K x n uint8, the pixels of each mask, packed.
        areas: K, cells of the low-res mask.
    """

    logits: npt.NDArray[np.float16]
    iou_predictions: npt.NDArray[np.float32]
    bits: npt.NDArray[np.uint8]
    areas: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, logits: npt.NDArray[np.float32], iou_predictions: npt.NDArray[np.float32]
    ) -> Candidates:
        """Candidates with their bits and areas."""
        count, height, width = logits.shape
        bits = np.packbits((logits > 0).reshape(count, height * width), axis=1)
        return cls(logits.astype(np.float16), iou_predictions, bits, _count(bits))

    @classmethod
    def joined(cls, several: Sequence[Candidates]) -> Candidates:
        """All candidates in one value. ``several`` is not empty."""
        return cls(*(np.concatenate([getattr(one, name) for one in several]) for name in _FIELDS))

    @classmethod
    def none(cls, size: tuple[int, int]) -> Candidates:
        """No candidate, of masks with this size (H, W)."""
        return cls.of(np.zeros((0, *size), np.float32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.areas)

    def chosen(self, indices: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Candidates:
        """Some candidates, in the order of their indices."""
        return Candidates(*(getattr(self, name)[indices] for name in _FIELDS))

    def of_area(self, least: float) -> Candidates:
        """The candidates whose mask covers at least this share of the image, 0 to 1."""
        height, width = self.logits.shape[1:]
        return self.chosen(self.areas >= least * height * width)

    def distinct(self, iou_thresh: float) -> Candidates:
        """The candidates without duplicates, the highest predicted IoU first.

        Of two masks with an IoU above ``iou_thresh``, the mask with the higher predicted IoU stays.
        """
        left = np.argsort(-self.iou_predictions, kind="stable")
        kept = []
        while len(left):
            best, left = left[0], left[1:]
            kept.append(best)
            left = left[self._ious(best, left) <= iou_thresh]
        return self.chosen(np.array(kept, dtype=np.int64))

    def _ious(self, one: np.int64, others: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        shared = _count(self.bits[others] & self.bits[one])
        ious: npt.NDArray[np.float64] = shared / (self.areas[others] + self.areas[one] - shared)
        return ious


_FIELDS = ("logits", "iou_predictions", "bits", "areas")


def stability_scores(logits: npt.NDArray[np.float32], offset: float) -> npt.NDArray[np.float64]:
    """How little masks change with their threshold: IoU of the masks at plus and minus ``offset``.

    After SAM's ``calculate_stability_score`` (segment_anything/utils/amg.py).

    Args:
        logits: K x h x w.
        offset: of the logits.

    Returns:
        K, 0 to 1. A mask that is empty at the lower threshold has 0.
    """
    inner, outer = (np.count_nonzero(logits > level, axis=(1, 2)) for level in (offset, -offset))
    scores: npt.NDArray[np.float64] = inner / np.maximum(outer, 1)
    return scores


def _count(bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
    return counts
