"""From the network's answers in one view of an image to masks of the whole image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from model.candidates import Candidates
from model.crops import Crop
from model.interactive import clean
from model.packed_mask import Mask, PackedMask
from model.transforms import LOW_RES_STRIDE
from model.types import PADDING, LowResPrediction, Prompt

_NO_CLICK = Prompt(np.zeros((1, 2), np.float32), np.array([PADDING]))


@dataclass(frozen=True, eq=False)
class FoundMask:
    """A mask that waits until it is wanted at full size.

    Attributes:
        mask: H x W of the whole image, packed.
        low_res_mask: S/4 x S/4 logits in the input frame of the whole image.
        iou_prediction: about 0 to 1.
    """

    mask: PackedMask
    low_res_mask: npt.NDArray[np.float32]
    iou_prediction: float


@dataclass(frozen=True)
class ViewFrame:
    """Brings the masks of one view to the size of the whole image.

    Attributes:
        crop: what the view shows.
        original_size: (H, W) of the whole image.
        image_size: S.
    """

    crop: Crop
    original_size: tuple[int, int]
    image_size: int

    def finish(self, candidates: Candidates, index: int, least: int) -> FoundMask | None:
        """A candidate at full size, or None where nothing of the mask is left.

        A mask that reaches the edge of a crop is left out: another view shows more of its object.

        Args:
            least: smaller parts and holes are removed, pixels.
        """
        logits = candidates.logits[index].astype(np.float32)
        low_res_mask = self._padded(logits)
        answer = LowResPrediction(low_res_mask, float(candidates.iou_predictions[index]))
        mask = clean(answer, _NO_CLICK, self.crop.size, self.image_size).mask
        if least:
            mask = _without_small_regions(mask, least)
        if not mask.any() or self.crop.touches_crop_edge(mask, self.original_size):
            return None
        if self.crop.size != self.original_size:
            mask = self.crop.uncrop(mask, self.original_size)
            low_res_mask = self._in_whole_image(logits)
        return FoundMask(PackedMask.pack(mask), low_res_mask, answer.iou_prediction)

    @property
    def _side(self) -> int:
        return self.image_size // LOW_RES_STRIDE

    def _padded(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """h x w to S/4 x S/4. The padding repeats the last row and the last column."""
        height, width = logits.shape
        missing = [(0, self._side - height), (0, self._side - width)]
        padded: npt.NDArray[np.float32] = np.pad(logits, missing, mode="edge")
        return padded

    def _in_whole_image(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A mask of the crop, h x w, as a low-res mask of the whole image, S/4 x S/4."""
        scale = self._side / max(self.original_size)
        left, top = round(self.crop.left * scale), round(self.crop.top * scale)
        width, height = (
            max(1, round(side * scale)) for side in (self.crop.width, self.crop.height)
        )
        small = cv2.resize(logits, (width, height), interpolation=cv2.INTER_AREA)
        whole = np.full((self._side, self._side), logits.min(), np.float32)
        part = whole[top : top + height, left : left + width]
        part[:] = small[: part.shape[0], : part.shape[1]]
        return whole


def _without_small_regions(mask: Mask, least: int) -> Mask:
    """A mask without parts and holes of fewer than ``least`` pixels."""
    background = ~_large_parts(mask, least, connectivity=8)
    return ~_large_parts(background, least, connectivity=4)


def _large_parts(mask: Mask, least: int, connectivity: int) -> Mask:
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=connectivity
    )
    is_large = statistics[:, cv2.CC_STAT_AREA] >= least
    is_large[0] = False
    large: Mask = is_large[parts]
    return large
