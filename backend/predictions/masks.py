"""The masks of the objects that are pointed out in a task: by clicks, or by boxes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.embeddings.priority import Priority
from backend.embeddings.segmenter import Segmenter
from backend.images.image_ref import ImageRef
from backend.predictions.boxes import OF_BOXES, OF_EVERYTHING, model_version
from backend.regions import prompts, rendering
from backend.regions.labeling_config import LabelingConfig
from backend.regions.outputs import Output
from backend.regions.prompts import Interaction
from backend.regions.region_items import Rectangle
from model.cleanup import box_around
from model.everything import EverythingSettings
from model.predictor import MAX_BATCH
from model.types import MaskPrediction

logger = logging.getLogger(__name__)


def predict_boxes(
    segmenter: Segmenter,
    task: Mapping[str, Any],
    boxes: Sequence[Interaction],
    config: LabelingConfig,
    priority: Priority = Priority.REST,
) -> dict[str, Any]:
    """The masks of boxes as a prediction of Label Studio: a region for each box, with its label.

    Args:
        segmenter: embeds the images and predicts the masks.
        task: as Label Studio has it.
        boxes: see :func:`backend.predictions.boxes.boxes_of`.
        config: the labeling config.
        priority: how urgent the embeddings are.

    Returns:
        ``result``, ``score`` and ``model_version``. The score is the lowest predicted IoU. A box
        in which the model finds nothing has no region.

    Raises:
        UnanswerableRequestError: no tag takes the mask of a box, or the task does not name the
            image.
        ImageError: an image is not available.
    """
    config = config.for_task(task)
    # Before the images: without an output, no image needs to be fetched.
    outputs = [config.output_for(box.to_name, box.labels) for box in boxes]
    rendered: dict[int, list[dict[str, Any]]] = {}
    for image, indices in _by_image(task, boxes, outputs, config).items():
        embedding = segmenter.embed(image.ref, reported_size=image.reported_size, priority=priority)
        prompted = [boxes[index].prompt(embedding.original_size) for index in indices]
        for row, found in segmenter.segment_boxes(
            image.ref, embedding, prompted, refine=image.refine, priority=priority
        ):
            index = indices[row]
            rendered[index] = rendering.render(found, boxes[index], outputs[index])
            if not rendered[index]:
                logger.warning("task %s: the model found nothing in a box", task.get("id"))
    result = [region for index in sorted(rendered) for region in rendered[index]]
    return _prediction(result, model_version(segmenter.model_version, OF_BOXES))


def predict_everything(
    segmenter: Segmenter,
    task: Mapping[str, Any],
    label: str | None,
    config: LabelingConfig,
    settings: EverythingSettings,
    priority: Priority = Priority.REST,
) -> dict[str, Any]:
    """The masks of all objects in a task's images as a prediction of Label Studio.

    Args:
        segmenter: embeds the images and predicts the masks.
        task: as Label Studio has it.
        label: of every mask: a value or an alias. None where the labeling config has one label
            only, or none.
        config: the labeling config.
        settings: what counts as an object.
        priority: how urgent the embeddings are.

    Returns:
        As :func:`predict_boxes`, the largest object of each image first.

    Raises:
        UnanswerableRequestError: no tag takes the masks, or the task does not name an image.
        ImageError: an image is not available.
    """
    config = config.for_task(task)
    result: list[dict[str, Any]] = []
    for image in config.images(task):
        labels = config.labels_for_all(image.to_name, label)
        output = config.output_for(image.to_name, labels)
        embedding = segmenter.embed(image.ref, priority=priority)
        for found in segmenter.segment_everything(image.ref, embedding, settings, priority):
            place = Interaction(
                image.to_name,
                labels,
                rectangle=_rectangle(found),
                item_index=image.item_index,
            )
            result += rendering.render(found, place, output)
    return _prediction(result, model_version(segmenter.model_version, OF_EVERYTHING))


def _rectangle(found: MaskPrediction) -> Rectangle:
    """The rectangle around a mask."""
    height, width = found.mask.shape
    left, top, box_width, box_height = box_around(found.mask) or (0, 0, width, height)
    box = (left, top, left + box_width, top + box_height)
    return prompts.rectangle_around(box, (height, width))


def _prediction(result: list[dict[str, Any]], version: str) -> dict[str, Any]:
    score = min((region["score"] for region in result), default=0.0)
    return {"result": result, "score": score, "model_version": version}


def segment(
    segmenter: Segmenter,
    task: Mapping[str, Any],
    interactions: Sequence[Interaction],
    outputs: Sequence[Output],
    config: LabelingConfig,
) -> Iterator[tuple[int, MaskPrediction]]:
    """The mask of each interaction, with the index of the interaction. An annotator waits.

    The objects of an image are decoded together, but not more than a batch of them: the masks of
    many objects at full size would take gigabytes.
    """
    for image, indices in _by_image(task, interactions, outputs, config).items():
        embedding = segmenter.embed(image.ref, reported_size=image.reported_size)
        for begin in range(0, len(indices), MAX_BATCH):
            batch = indices[begin : begin + MAX_BATCH]
            found = segmenter.segment(
                image.ref,
                embedding,
                [interactions[index].prompt(embedding.original_size) for index in batch],
                refine=image.refine,
            )
            yield from zip(batch, found, strict=True)


@dataclass(frozen=True)
class _Image:
    """Interactions with the same value are decoded together."""

    ref: ImageRef
    reported_size: tuple[int, int] | None
    refine: bool


def _by_image(
    task: Mapping[str, Any],
    interactions: Sequence[Interaction],
    outputs: Sequence[Output],
    config: LabelingConfig,
) -> dict[_Image, list[int]]:
    """The indices of the interactions on each image."""
    of_image: dict[_Image, list[int]] = {}
    for index, (interaction, output) in enumerate(zip(interactions, outputs, strict=True)):
        ref = config.image_ref(task, interaction.to_name, interaction.item_index or 0)
        image = _Image(ref, interaction.reported_size, output.crop_refinement)
        of_image.setdefault(image, []).append(index)
    return of_image
