"""The masks that an annotator expects: what is done around the network's answers.

Three things. Clicks on one object were made one after the other, each to correct the mask that was
shown before: they are replayed in their order, and the low-res mask of the clicks so far goes into
the network with the next click, as Segment Anything was trained to use it (Kirillov et al., ICCV
2023, appendix A). A small object is predicted again in a crop of the image, see
:mod:`model.crops`. And each mask is cleaned up, see :mod:`model.cleanup`. ``training/README.md``
has the worth of each rule.

There is no state: all that a call needs is in its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from model import transforms
from model.cleanup import enforce_clicks, remove_small_regions
from model.crops import Crop, crop_for
from model.predictor import Predictor
from model.transforms import LOW_RES_STRIDE, TOKEN_STRIDE
from model.types import FOREGROUND, ImageEmbedding, LowResPrediction, MaskPrediction, Prompt

# A part or a hole of a few cells of the low-res mask is noise of the network.
_NOISE_CELLS = 16

# Gives the embedding of a crop; None where the crop is not available.
EmbedCrop = Callable[[Crop], ImageEmbedding | None]


class MaskInputs(Protocol):
    """Remembers the low-res masks of earlier answers, which saves their replay."""

    def recall(self, embedding: ImageEmbedding, prompt: Prompt) -> Prompt:
        """The prompt with the low-res mask of all but its last click, where that is known."""

    def keep(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        predictions: Sequence[MaskPrediction],
    ) -> None:
        """Remember the answers to prompts."""


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
        prompts: one for each object, in pixels of the image. A prompt with a ``mask_input``, the
            low-res mask that was answered to its earlier clicks, needs no replay.
        embed_crop: embeds a crop of the image; None for no crop refinement.
        mask_inputs: earlier answers; they change the time that a call takes and nothing else.

    Returns:
        The mask of each prompt and its expected IoU, in the order of the prompts. The
        ``low_res_mask`` is always that of the whole image.
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
        crop_prompts = [crop.prompt(prompts[index]) for index in indices]
        refined = _segment_view(predictor, crop_embedding, crop_prompts, mask_inputs)
        for index, refinement in zip(indices, refined, strict=True):
            if not refinement.mask.any():
                continue
            if not crop.touches_crop_edge(refinement.mask, embedding.original_size):
                predictions[index] = replace(
                    predictions[index],
                    mask=crop.uncrop(refinement.mask, embedding.original_size),
                    iou_prediction=refinement.iou_prediction,
                )
    return predictions


def _segment_view(
    predictor: Predictor,
    embedding: ImageEmbedding,
    prompts: Sequence[Prompt],
    mask_inputs: MaskInputs | None,
) -> list[MaskPrediction]:
    """Masks in one view: the whole image or a crop of it."""
    if mask_inputs is not None:
        known = [mask_inputs.recall(embedding, prompt) for prompt in prompts]
    else:
        known = list(prompts)
    last = _replay(predictor, embedding, known)
    answers = predictor.predict_low_res(embedding, last)
    predictions = [
        _clean(embedding, answer, prompt, predictor.engine.image_size)
        for answer, prompt in zip(answers, prompts, strict=True)
    ]
    if mask_inputs is not None:
        mask_inputs.keep(embedding, prompts, predictions)
    return predictions


def _replay(
    predictor: Predictor, embedding: ImageEmbedding, prompts: Sequence[Prompt]
) -> list[Prompt]:
    """Each prompt with the low-res mask that was answered before its last click."""
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
    """Whether the first ``count`` clicks of a prompt had an answer before the others came.

    A box has an answer without any click. Negative clicks alone have none: they point out no
    object.
    """
    return (
        len(prompt.clicks) > count
        and prompt.mask_input is None
        and (prompt.has_box or FOREGROUND in prompt.clicks[:count])
    )


def _clean(
    embedding: ImageEmbedding, answer: LowResPrediction, prompt: Prompt, image_size: int
) -> MaskPrediction:
    """Upsample and clean up a mask.

    Parts and holes are found in the input frame: the frame shows all of them, and the original
    image may have ten times as many pixels.
    """
    original_size = embedding.original_size
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
    if positive.any():  # where the network sees nothing, a click alone is no object
        enforce_clicks(mask, prompt)
    return MaskPrediction(mask, answer.low_res_mask, answer.iou_prediction)
