"""The Label Studio class. "Model" means the network here; Label Studio would say it of this.

The plugin is built anew for each request, as label-studio-ml does; what outlives a request is in
:class:`backend.service.Service`, one for each process.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from backend import metrics
from backend.embeddings.segmenter import Segmenter
from backend.images.errors import ImageError
from backend.images.image_ref import ImageRef
from backend.regions import prompts, rendering
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig
from backend.regions.outputs import TAGLESS_OUTPUT, Output
from backend.regions.prompts import Interaction
from backend.service import Service
from backend.settings import Settings
from model.types import MaskPrediction

# label-studio-ml imports torch where it finds it, for torch's multiprocessing alone. Hidden for
# this one import, it takes Python's, and a process that needs no torch stays without it.
_torch = sys.modules.get("torch")
sys.modules["torch"] = None  # type: ignore[assignment]
try:
    from label_studio_ml.model import LabelStudioMLBase
finally:
    del sys.modules["torch"]
    if _torch is not None:
        sys.modules["torch"] = _torch

logger = logging.getLogger(__name__)


class MobileSAMBackend(LabelStudioMLBase):  # type: ignore[misc]
    """Answers smart keypoints and smart rectangles with masks.

    Runs under our own server and, unchanged, under those of label-studio-ml 1.0.9 and 2.x.
    """

    service: ClassVar[Service | None] = None
    _starting: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def shared_service(cls) -> Service:
        """The process's service; started from the environment where no server has set one."""
        with cls._starting:
            if cls.service is None:
                MobileSAMBackend.service = Service.start(Settings.from_env())
                MobileSAMBackend.service.prefetcher.start()
            assert cls.service is not None
            return cls.service

    def predict(
        self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Answer one request.

        Args:
            tasks: as Label Studio sends them; exactly one in an interactive request.
            context: ``{"result": [smart regions]}``, ``{"event": name}`` of the coming editor,
                or None when nobody has clicked.

        Returns:
            One entry per task: an empty list where nobody has clicked, else a prediction whose
            ``result`` holds a region for each object. A click that cannot be answered gets an
            empty ``result`` and a line in the log that says why.

        Raises:
            MalformedRequestError: the request is not as Label Studio writes it.
            UnanswerableRequestError: a prompt of the coming editor cannot be answered. That editor
                shows errors; today's does not.
        """
        service = self.shared_service()
        config = LabelingConfig.parse(self.label_config)
        context = context or {}
        result = context.get("result")
        if result is None:
            if context.get("event") in (None, "prewarm"):  # others need nothing of us
                service.prefetcher.tasks_opened(tasks, config)
            return [[] for _ in tasks]
        task = tasks[0]
        predicted: list[dict[str, Any]] = []
        try:
            predicted = _predict_regions(service.segmenter, task, result, config)
            metrics.CLICKS.labels("mask" if predicted else "empty").inc()
        except (UnanswerableRequestError, ImageError) as error:
            metrics.CLICKS.labels("unanswerable").inc()
            logger.error("task %s: the click got no mask: %s", task.get("id"), error)
            if prompts.is_tagless(result):
                raise UnanswerableRequestError(str(error)) from error
        return [
            {
                "result": predicted,
                "score": min((region["score"] for region in predicted), default=0.0),
                "model_version": service.segmenter.model_version,
            }
        ]

    def fit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Nothing: MobileSAM does not learn from annotations."""
        return {}


def _predict_regions(
    segmenter: Segmenter, task: Mapping[str, Any], result: Sequence[Any], config: LabelingConfig
) -> list[dict[str, Any]]:
    """From what the annotator did to the regions that Label Studio draws."""
    config = config.for_task(task)
    interactions = prompts.parse(result, config)
    # before the images: none is fetched for an answer that cannot be given
    outputs = [
        TAGLESS_OUTPUT if one.is_tagless else config.output_for(one.to_name, one.labels)
        for one in interactions
    ]
    predictions = _segment(segmenter, task, interactions, outputs, config)
    predicted: list[dict[str, Any]] = []
    for interaction, output, prediction in zip(interactions, outputs, predictions, strict=True):
        if not prediction.mask.any():
            if interaction.is_tagless:
                raise UnanswerableRequestError(
                    "the model found nothing at the click: click elsewhere on the object"
                )
            logger.warning("task %s: the model found nothing at the click", task.get("id"))
        predicted += rendering.render(prediction, interaction, output)
    return predicted


def _segment(
    segmenter: Segmenter,
    task: Mapping[str, Any],
    interactions: Sequence[Interaction],
    outputs: Sequence[Output],
    config: LabelingConfig,
) -> list[MaskPrediction]:
    """One mask for each interaction; the objects of an image are decoded together."""
    of_image: dict[_Image, list[int]] = {}
    for index, (interaction, output) in enumerate(zip(interactions, outputs, strict=True)):
        ref = config.image_ref(task, interaction.to_name, interaction.item_index or 0)
        image = _Image(ref, interaction.reported_size, output.crop_refinement)
        of_image.setdefault(image, []).append(index)
    masks: dict[int, MaskPrediction] = {}
    for image, indices in of_image.items():
        embedding = segmenter.embed(image.ref, reported_size=image.reported_size)
        prompts = [interactions[index].prompt(embedding.original_size) for index in indices]
        found = segmenter.segment(image.ref, embedding, prompts, refine=image.refine)
        masks.update(zip(indices, found, strict=True))
    return [masks[index] for index in range(len(interactions))]


@dataclass(frozen=True)
class _Image:
    """What interactions must have in common to be decoded together."""

    ref: ImageRef
    reported_size: tuple[int, int] | None
    refine: bool
