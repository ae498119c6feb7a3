"""The masks of all objects in an image, without a prompt.

Points of a grid are the clicks, as in SAM's ``SamAutomaticMaskGenerator``
(segment_anything/automatic_mask_generator.py). Two things differ:

- A coarse grid comes first. Points of the finer grids are left out where a confident mask lies, as
  in TinySAM (Shu et al., arXiv 2312.13789, section 3.3).
- Masks are filtered and compared at the size of the network's answer. Only the masks that stay are
  upsampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from model import transforms
from model.candidates import Candidates, stability_scores
from model.crops import Crop
from model.interactive import EmbedCrop, clean
from model.packed_mask import Mask, PackedMask
from model.predictor import MAX_BATCH, Predictor
from model.transforms import LOW_RES_STRIDE
from model.types import (
    FOREGROUND,
    PADDING,
    ImageEmbedding,
    LowResPrediction,
    MaskPrediction,
    Prompt,
)

# Every fourth point of the grid along each axis is a click of the first round. Then every second.
_ROUNDS = (4, 2, 1)
# Neighbouring crops share this part of their shorter side, as in SAM.
_CROP_OVERLAP = 512 / 1500
# How far the threshold of a mask is moved for its stability score, as in SAM.
_STABILITY_OFFSET = 1.0
_NO_CLICK = Prompt(np.zeros((1, 2), np.float32), np.array([PADDING]))

Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EverythingSettings:
    """What counts as an object. Most names are those of SAM's ``SamAutomaticMaskGenerator``.

    Attributes:
        points_per_side: points of the finest grid along each axis of the image.
        pred_iou_thresh: the lowest predicted IoU of a mask, 0 to 1.
        stability_score_thresh: the lowest stability of a mask, 0 to 1, see
            :func:`model.candidates.stability_scores`.
        box_nms_thresh: the highest IoU of two masks, 0 to 1. SAM compares boxes here.
        crop_n_layers: how often the image is cut into crops for small objects: layer n has
            2^n x 2^n of them. 0 for no crops.
        min_mask_region_area: parts and holes of a mask that are smaller are removed, pixels of the
            image. A mask without a larger part is left out.
        max_masks: the largest number of masks. Those with the highest predicted IoU stay. None for
            all of them.

    Raises:
        ValueError: a number is out of its range.
    """

    points_per_side: int = 32
    pred_iou_thresh: float = 0.7
    stability_score_thresh: float = 0.8
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    min_mask_region_area: int = 0
    max_masks: int | None = None

    def __post_init__(self) -> None:
        for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, not {getattr(self, name)}")
        least = {"points_per_side": 1, "crop_n_layers": 0, "min_mask_region_area": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be {lowest} or more, not {getattr(self, name)}")
        if self.max_masks is not None and self.max_masks < 1:
            raise ValueError(f"max_masks must be 1 or more, or None, not {self.max_masks}")


def segment_everything(
    predictor: Predictor,
    embedding: ImageEmbedding,
    settings: EverythingSettings = EverythingSettings(),
    embed_crop: EmbedCrop | None = None,
) -> Iterator[MaskPrediction]:
    """Segment all objects of an image.

    The network has finished when the first mask comes. The masks wait in packed form and become
    full-size masks one at a time.

    Args:
        predictor: the loaded model.
        embedding: the embedding of the whole image, made by this predictor.
        settings: what counts as an object.
        embed_crop: embeds a crop of the image. It is called only where ``crop_n_layers`` is not 0.

    Returns:
        The masks, the largest first. No two have an IoU above ``box_nms_thresh``.

    Raises:
        ValueError: ``crop_n_layers`` needs ``embed_crop``.
    """
    if settings.crop_n_layers and embed_crop is None:
        raise ValueError("crop_n_layers needs embed_crop: without it there are no crops")
    found: list[_Found] = []
    height, width = embedding.original_size
    views = [(Crop(0, 0, width, height), embedding)]
    for crop in crops_of(embedding.original_size, settings.crop_n_layers):
        crop_embedding = embed_crop(crop) if embed_crop else None
        if crop_embedding is not None:
            views.append((crop, crop_embedding))
    # The smallest crops come first: they show an object with the most tokens.
    for crop, view in reversed(views):
        candidates = find_candidates(predictor, view, settings)
        for index in range(len(candidates)):
            one = _finish(predictor, candidates, index, crop, embedding.original_size, settings)
            if one is not None and _is_new(one, found, settings.box_nms_thresh):
                found.append(one)
    if settings.max_masks is not None:
        found = sorted(found, key=lambda one: -one.iou_prediction)[: settings.max_masks]
    return _unpacked(sorted(found, key=lambda one: -one.mask.area))


@dataclass(frozen=True, eq=False)
class _Found:
    mask: PackedMask
    low_res_mask: npt.NDArray[np.float32]
    iou_prediction: float


def _unpacked(found: list[_Found]) -> Iterator[MaskPrediction]:
    for one in found:
        yield MaskPrediction(one.mask.unpack(), one.low_res_mask, one.iou_prediction)


def _is_new(one: _Found, found: list[_Found], iou_thresh: float) -> bool:
    """Whether a mask is no duplicate of an earlier mask."""
    for other in found:
        smaller, larger = sorted((one.mask.area, other.mask.area))
        if smaller > iou_thresh * larger and one.mask.iou(other.mask) > iou_thresh:
            return False
    return True


def grid_points(points_per_side: int, original_size: tuple[int, int]) -> list[Points]:
    """The points of each round, N x 2 (x, y) in pixels of the image.

    An axis has no more points than pixels.

    Returns:
        One array for each round, the coarsest grid first. No point comes twice.
    """
    height, width = original_size
    columns, rows = min(points_per_side, width), min(points_per_side, height)
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    coords = np.stack([(x + 0.5) / columns * width, (y + 0.5) / rows * height], -1)
    rounds, is_done = [], np.zeros((rows, columns), dtype=np.bool_)
    for step in _ROUNDS:
        first = min(step - 1, 1)
        is_due = (x % step == first) & (y % step == first)
        rounds.append(coords[is_due & ~is_done].astype(np.float32))
        is_done |= is_due
    return rounds


def crops_of(original_size: tuple[int, int], layers: int) -> list[Crop]:
    """The crops of all layers, largest first. After SAM's ``generate_crop_boxes`` (utils/amg.py).

    Args:
        original_size: (H, W) of the image.
        layers: layer n, from 1 on, has 2^n x 2^n crops.
    """
    crops = []
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(_CROP_OVERLAP * min(original_size) * 2 / count)
        height, width = (-(-(overlap * (count - 1) + side) // count) for side in original_size)
        for top in range(0, count * (height - overlap), height - overlap):
            for left in range(0, count * (width - overlap), width - overlap):
                bottom, right = (
                    min(top + height, original_size[0]),
                    min(left + width, original_size[1]),
                )
                if top < bottom and left < right:
                    crops.append(Crop(left, top, right - left, bottom - top))
    return crops


def find_candidates(
    predictor: Predictor, embedding: ImageEmbedding, settings: EverythingSettings
) -> Candidates:
    """The candidates of one view, without duplicates, the highest predicted IoU first.

    Args:
        embedding: of the whole image or of a crop.
    """
    found = _decode(predictor, embedding, np.zeros((0, 2), np.float32), settings)
    for points in grid_points(settings.points_per_side, embedding.original_size):
        open_points = points[~_is_covered(points, found, predictor, embedding)]
        new = [
            _decode(predictor, embedding, open_points[begin : begin + MAX_BATCH], settings)
            for begin in range(0, len(open_points), MAX_BATCH)
        ]
        found = Candidates.joined([found, *new]).distinct(settings.box_nms_thresh)
    return found


def _is_covered(
    points: Points, found: Candidates, predictor: Predictor, embedding: ImageEmbedding
) -> npt.NDArray[np.bool_]:
    """Whether a confident mask lies under each point."""
    covered: Mask = np.any(found.logits > 0, axis=0)
    coords = transforms.points_to_input_frame(
        points, embedding.original_size, predictor.engine.image_size
    )
    x, y = (coords / LOW_RES_STRIDE).astype(int).T
    at_points: npt.NDArray[np.bool_] = covered[y, x]
    return at_points


def _decode(
    predictor: Predictor, embedding: ImageEmbedding, points: Points, settings: EverythingSettings
) -> Candidates:
    """The answers to clicks that pass both thresholds."""
    side = predictor.engine.image_size
    height, width = (
        -(-length // LOW_RES_STRIDE)
        for length in transforms.input_size(embedding.original_size, side)
    )
    if not len(points):
        empty = np.zeros((0, height, width), np.float32)
        return Candidates.of(empty, np.zeros(0, np.float32))
    prompts = [Prompt(point[None], np.array([FOREGROUND])) for point in points]
    low_res_masks, iou_predictions = predictor.decode(embedding, prompts)
    prompt, answer = np.nonzero(iou_predictions[:, 1:] >= settings.pred_iou_thresh)
    logits = low_res_masks[prompt, 1 + answer, :height, :width]
    is_stable = stability_scores(logits, _STABILITY_OFFSET) >= settings.stability_score_thresh
    is_stable &= (logits > 0).any(axis=(1, 2))
    return Candidates.of(logits[is_stable], iou_predictions[prompt, 1 + answer][is_stable])


def _finish(
    predictor: Predictor,
    candidates: Candidates,
    index: int,
    crop: Crop,
    original_size: tuple[int, int],
    settings: EverythingSettings,
) -> _Found | None:
    """A candidate at full size, or None where nothing of it is left."""
    side = predictor.engine.image_size // LOW_RES_STRIDE
    low_res_mask = _padded(candidates.logits[index], side)
    answer = LowResPrediction(low_res_mask, float(candidates.iou_predictions[index]))
    mask = clean(answer, _NO_CLICK, crop.size, predictor.engine.image_size).mask
    if settings.min_mask_region_area:
        mask = _without_small_regions(mask, settings.min_mask_region_area)
    if not mask.any() or crop.touches_crop_edge(mask, original_size):
        return None
    if crop.size != original_size:
        mask = crop.uncrop(mask, original_size)
    return _Found(PackedMask.pack(mask), low_res_mask, answer.iou_prediction)


def _padded(logits: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """h x w logits to side x side: the padding repeats the last row and the last column."""
    height, width = logits.shape
    padded: npt.NDArray[np.float32] = np.pad(
        logits, [(0, side - height), (0, side - width)], mode="edge"
    )
    return padded


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
