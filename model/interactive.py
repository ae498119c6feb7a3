"""Turns the network's answers into the masks that an annotator expects.

Three rules are added to the network:

- Replay. An annotator places clicks one after the other, and each click corrects the mask that was
  shown before. So the clicks are replayed in their order. The low-res mask of the earlier clicks
  goes into the network with the next click. Segment Anything was trained in this way (Kirillov et
  al., ICCV 2023, appendix A).
- Crop refinement. A small object is predicted again in a crop of the image, see
  :mod:`model.crops`.
- Clean-up. Each mask is brought in line with its clicks, see :mod:`model.cleanup`.

``training/README.md`` has measurements of each rule. The functions keep nothing between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from model import transforms
from model.cleanup import enforce_clicks, remove_small_regions
from model.crops import Crop, crop_for, shared_crops
from model.predictor import MAX_BATCH, Predictor
from model.transforms import LOW_RES_STRIDE, TOKEN_STRIDE
from model.types import FOREGROUND, ImageEmbedding, LowResPrediction, MaskPrediction, Prompt

# A part or a hole of a few cells of the low-res mask is noise. Cells of the low-res mask.
_NOISE_CELLS = 16

# Returns the embedding of a crop, or None where the crop is not available.
EmbedCrop = Callable[[Crop], ImageEmbedding | None]


class MaskInputs(Protocol):
    """Remembers the low-res masks of earlier answers, so that they are not computed again."""

    def recall(self, embedding: ImageEmbedding, prompt: Prompt) -> Prompt:
        """The prompt, with the low-res mask of all clicks but the last where it is known."""

    def keep(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        predictions: Sequence[MaskPrediction],
    ) -> None:
        """Remember the answers to prompts of one image."""


def segment(
    predictor: Predictor,
    embedding: ImageEmbedding,
    prompts: Sequence[Prompt],
    *,
    embed_crop: EmbedCrop | None = None,
    mask_inputs: MaskInputs | None = None,
) -> list[MaskPrediction]:
    """Segment objects of one image.

    Prompts with the same number of points, such as boxes, pass through the network together.

    Args:
        predictor: the loaded model.
        embedding: the embedding of the whole image, made by this predictor.
        prompts: one for each object, in pixels of the image. A ``mask_input`` is the low-res mask
            of the earlier clicks: a prompt that has a ``mask_input`` is not replayed.
        embed_crop: embeds a crop of the image. None switches crop refinement off.
        mask_inputs: earlier answers. They make a call faster and do not change its result.

    Returns:
        One prediction for each prompt, in the order of the prompts. The ``low_res_mask`` is that
        of the whole image, also where the mask comes from a crop.
    """
    predictions = _segment_view(predictor, embedding, prompts, mask_inputs)
    if embed_crop is None:
        return predictions
    tokens = predictor.engine.image_size // TOKEN_STRIDE
    in_crop: dict[Crop, list[int]] = {}
    for index, (prediction, prompt) in enumerate(zip(predictions, prompts, strict=True)):
        crop = crop_for(prediction, prompt, tokens)
        if crop is not None:
            in_crop.setdefault(crop, []).append(index)
    for crop, indices in in_crop.items():
        crop_embedding = embed_crop(crop)
        if crop_embedding is None:
            continue
        refined = _segment_crop(
            predictor,
            crop_embedding,
            crop,
            [prompts[index] for index in indices],
            embedding.original_size,
            mask_inputs,
        )
        for row, refinement in refined.items():
            index = indices[row]
            low_res_mask = predictions[index].low_res_mask
            predictions[index] = replace(refinement, low_res_mask=low_res_mask)
    return predictions


def segment_boxes(
    predictor: Predictor,
    embedding: ImageEmbedding,
    prompts: Sequence[Prompt],
    *,
    embed_crop: EmbedCrop | None = None,
) -> Iterator[tuple[int, MaskPrediction]]:
    """Segment many boxes of one image, as :func:`segment` does, and faster.

    Boxes share crops, and a box that gets its mask in a crop is not predicted in the whole image.
    No more than ``MAX_BATCH`` full-size masks are in memory.

    Args:
        predictor: the loaded model.
        embedding: the embedding of the whole image, made by this predictor.
        prompts: one box for each object, in pixels of the image.
        embed_crop: embeds a crop of the image. None switches crop refinement off.

    Returns:
        A prediction for each box, with the index of the box. Boxes of one crop come together. The
        ``low_res_mask`` is that of the view that the mask comes from.
    """
    tokens = predictor.engine.image_size // TOKEN_STRIDE
    crops: list[Crop | None] = [None] * len(prompts)
    if embed_crop is not None:
        crops = shared_crops(prompts, embedding.original_size, tokens)
    in_crop: dict[Crop | None, list[int]] = {}
    for index, crop in enumerate(crops):
        in_crop.setdefault(crop, []).append(index)
    for crop, indices in in_crop.items():
        view = embed_crop(crop) if embed_crop is not None and crop is not None else None
        for begin in range(0, len(indices), MAX_BATCH):
            batch = indices[begin : begin + MAX_BATCH]
            refined: dict[int, MaskPrediction] = {}
            if view is not None and crop is not None:
                boxes = [prompts[index] for index in batch]
                found = _segment_crop(predictor, view, crop, boxes, embedding.original_size)
                refined = {batch[row]: prediction for row, prediction in found.items()}
            rest = [index for index in batch if index not in refined]
            whole = _segment_view(predictor, embedding, [prompts[i] for i in rest], None)
            yield from refined.items()
            yield from zip(rest, whole, strict=True)


def _segment_crop(
    predictor: Predictor,
    view: ImageEmbedding,
    crop: Crop,
    prompts: Sequence[Prompt],
    original_size: tuple[int, int],
    mask_inputs: MaskInputs | None = None,
) -> dict[int, MaskPrediction]:
    """The masks in a crop, as masks of the whole image, by the indices of their prompts.

    Empty masks are left out, and objects that may be larger than the crop shows.
    """
    predictions = _segment_view(predictor, view, list(map(crop.prompt, prompts)), mask_inputs)
    return {
        index: replace(found, mask=crop.uncrop(found.mask, original_size))
        for index, found in enumerate(predictions)
        if found.mask.any() and not crop.touches_crop_edge(found.mask, original_size)
    }


def _segment_view(
    predictor: Predictor,
    embedding: ImageEmbedding,
    prompts: Sequence[Prompt],
    mask_inputs: MaskInputs | None,
) -> list[MaskPrediction]:
    """The masks in one view. A view is the whole image or a crop."""
    if mask_inputs is not None:
        known = [mask_inputs.recall(embedding, prompt) for prompt in prompts]
    else:
        known = list(prompts)
    last = _replay(predictor, embedding, known)
    answers = predictor.predict_low_res(embedding, last)
    predictions = [
        clean(answer, prompt, embedding.original_size, predictor.engine.image_size)
        for answer, prompt in zip(answers, prompts, strict=True)
    ]
    if mask_inputs is not None:
        mask_inputs.keep(embedding, prompts, predictions)
    return predictions


def _replay(
    predictor: Predictor, embedding: ImageEmbedding, prompts: Sequence[Prompt]
) -> list[Prompt]:
    """Each prompt, with the low-res mask of all clicks but the last."""
    answers: dict[int, LowResPrediction] = {}
    for count in range(max((len(prompt.clicks) for prompt in prompts), default=0)):
        earlier = {
            index: _with_mask_input(prompt.first(count), answers.get(index))
            for index, prompt in enumerate(prompts)
            if _is_replayed(prompt, count)
        }
        answered = predictor.predict_low_res(embedding, list(earlier.values()))
        answers.update(zip(earlier, answered, strict=True))
    return [_with_mask_input(prompt, answers.get(index)) for index, prompt in enumerate(prompts)]


def _with_mask_input(prompt: Prompt, answer: LowResPrediction | None) -> Prompt:
    return prompt if answer is None else replace(prompt, mask_input=answer.low_res_mask)


def _is_replayed(prompt: Prompt, count: int) -> bool:
    """Whether the annotator saw a mask after the first ``count`` clicks of a prompt.

    A box gets a mask without any click. Negative clicks alone get no mask: they show no object.
    """
    return (
        len(prompt.clicks) > count
        and prompt.mask_input is None
        and (prompt.has_box or FOREGROUND in prompt.clicks[:count])
    )


def clean(
    answer: LowResPrediction, prompt: Prompt, original_size: tuple[int, int], image_size: int
) -> MaskPrediction:
    """Upsample a mask and clean it up.

    Parts and holes are found in the input frame. It shows all of them, and the original image may
    have ten times as many pixels.

    Args:
        answer: the network's answer to ``prompt``.
        prompt: in pixels of the image. Points with the label -1 decide nothing.
        original_size: (H, W) of the image.
        image_size: S.
    """
    frame = transforms.upsample_to_frame(answer.low_res_mask, original_size, image_size)
    positive = frame > 0
    coords = transforms.points_to_input_frame(prompt.point_coords, original_size, image_size)
    cleaned = remove_small_regions(
        positive,
        replace(prompt, point_coords=coords),
        area_thresh=_NOISE_CELLS * LOW_RES_STRIDE**2,
    )
    np.negative(frame, out=frame, where=cleaned != positive)
    mask = transforms.upsample_to_original(frame, original_size)
    if positive.any():  # a click does not make an object where the network sees none
        enforce_clicks(mask, prompt)
    return MaskPrediction(mask, answer.low_res_mask, answer.iou_prediction)
