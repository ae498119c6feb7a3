"""The masks of all objects in an image, without a prompt.

Points of a grid are the clicks, as in SAM's ``SamAutomaticMaskGenerator``
(segment_anything/automatic_mask_generator.py). Two things differ:

- Every second point of every second row comes first. The other points are left out where a large
  mask lies. TinySAM does so too (Shu et al., arXiv 2312.13789, section 3.3).
- Masks are filtered and compared at the size of the network's answer. Only the masks that stay are
  upsampled.

``training/README.md`` has measurements of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model import transforms
from model.candidates import Candidates, stability_scores
from model.crops import Crop
from model.interactive import EmbedCrop
from model.packed_mask import Mask
from model.point_grid import Points, crops_of, point_grid
from model.predictor import Predictor
from model.transforms import LOW_RES_STRIDE
from model.types import ImageEmbedding, MaskPrediction
from model.view_frame import FoundMask, ViewFrame

# A mask over so many points of the whole grid has had enough clicks with the first quarter of them.
_MANY_POINTS = 60
# How far the threshold of a mask is moved for its stability score, as in SAM.
_STABILITY_OFFSET = 1.0


@dataclass(frozen=True)
class EverythingSettings:
    """What counts as an object. Most names are those of SAM's ``SamAutomaticMaskGenerator``.

    Attributes:
        points_per_side: points of the grid along each axis of the image.
        hierarchical: whether points are left out where a large mask lies. SAM leaves out none.
        pred_iou_thresh: the lowest predicted IoU of a mask, 0 to 1.
        stability_score_thresh: the lowest stability of a mask, 0 to 1, see
            :func:`model.candidates.stability_scores`.
        box_nms_thresh: the highest IoU of two masks, 0 to 1. SAM compares their boxes.
        crop_n_layers: how often the image is cut into crops for small objects: layer n has
            2^n x 2^n crops, each with a grid of its own. 0 for no crops.
        min_mask_region_area: parts and holes of a mask that are smaller are removed, pixels of the
            image. A mask without a larger part is left out.
        max_masks: the largest number of masks. Those with the highest predicted IoU stay. None for
            all masks.

    Raises:
        ValueError: a number is out of its range.
    """

    points_per_side: int = 32
    hierarchical: bool = True
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
        ValueError: ``crop_n_layers`` is not 0, and ``embed_crop`` is missing.
    """
    found: list[FoundMask] = []
    # The smallest crops come first: they show an object with the most tokens.
    for crop, view in reversed(list(_views(embedding, settings, embed_crop))):
        frame = ViewFrame(crop, embedding.original_size, predictor.engine.image_size)
        candidates = find_candidates(predictor, view, settings)
        for index in range(len(candidates)):
            one = frame.finish(candidates, index, settings.min_mask_region_area)
            if one is not None and _is_new(one, found, settings.box_nms_thresh):
                found.append(one)
    if settings.max_masks is not None:
        found = sorted(found, key=lambda one: -one.iou_prediction)[: settings.max_masks]
    return _unpacked(sorted(found, key=lambda one: -one.mask.area))


def find_candidates(
    predictor: Predictor, embedding: ImageEmbedding, settings: EverythingSettings
) -> Candidates:
    """The masks of one view, without duplicates, the highest predicted IoU first.

    Args:
        embedding: of the whole image or of a crop.
    """
    size = transforms.low_res_size(embedding.original_size, predictor.engine.image_size)
    found = Candidates.none(size)
    for points in point_grid(settings.points_per_side, embedding.original_size):
        if settings.hierarchical:
            large = found.of_area(_MANY_POINTS / settings.points_per_side**2)
            points = points[~_is_covered(points, large, predictor, embedding)]
        batches = predictor.find_masks(embedding, points, settings.pred_iou_thresh)
        new = [_stable(*batch, settings.stability_score_thresh) for batch in batches]
        found = Candidates.joined([found, *new]).distinct(settings.box_nms_thresh)
    return found


def _views(
    embedding: ImageEmbedding, settings: EverythingSettings, embed_crop: EmbedCrop | None
) -> Iterator[tuple[Crop, ImageEmbedding]]:
    """The whole image, and the crops that are available."""
    height, width = embedding.original_size
    yield Crop(0, 0, width, height), embedding
    if settings.crop_n_layers and embed_crop is None:
        raise ValueError("crop_n_layers needs embed_crop: without it there are no crops")
    for crop in crops_of(embedding.original_size, settings.crop_n_layers):
        view = embed_crop(crop) if embed_crop else None
        if view is not None:
            yield crop, view


def _is_covered(
    points: Points, masks: Candidates, predictor: Predictor, embedding: ImageEmbedding
) -> npt.NDArray[np.bool_]:
    """Whether a mask lies under each point."""
    covered: Mask = np.any(masks.logits > 0, axis=0)
    coords = transforms.points_to_input_frame(
        points, embedding.original_size, predictor.engine.image_size
    )
    x, y = (coords / LOW_RES_STRIDE).astype(int).T
    at_points: npt.NDArray[np.bool_] = covered[y, x]
    return at_points


def _stable(
    logits: npt.NDArray[np.float32], iou_predictions: npt.NDArray[np.float32], thresh: float
) -> Candidates:
    """The masks that are stable enough."""
    is_stable = stability_scores(logits, _STABILITY_OFFSET) >= thresh
    is_stable &= np.any(logits > 0, axis=(1, 2))
    return Candidates.of(logits[is_stable], iou_predictions[is_stable])


def _is_new(one: FoundMask, found: list[FoundMask], iou_thresh: float) -> bool:
    """Whether a mask is no duplicate of an earlier mask."""
    for other in found:
        smaller, larger = sorted((one.mask.area, other.mask.area))
        # No IoU is larger than the ratio of the areas.
        if smaller > iou_thresh * larger and one.mask.iou(other.mask) > iou_thresh:
            return False
    return True


def _unpacked(found: list[FoundMask]) -> Iterator[MaskPrediction]:
    for one in found:
        yield MaskPrediction(one.mask.unpack(), one.low_res_mask, one.iou_prediction)
