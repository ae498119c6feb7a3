"""The Label Studio class. "Model" means the network here; Label Studio would say it of this.

The plugin is built anew for each request, as label-studio-ml does; what outlives a request is in
:class:`backend.service.Service`, one for each process.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from backend import metrics, regions, rendering
from backend.images import ImageError, image_key
from backend.labeling_config import LabelingConfig, UnanswerableRegion, whole_number
from backend.regions import Interaction
from backend.service import Service
from backend.settings import Settings
from model.second_look import Look, Tile
from model.types import ImageEmbedding, MaskPrediction

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
            MalformedRegion: the request is not as Label Studio writes it.
            UnanswerableRegion: a prompt of the coming editor cannot be answered. That editor
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
            if regions.is_bare(result):
                predicted = self._answer_bare(service, task, result, config)
            else:
                predicted = self._answer(service, task, regions.parse(result, config), config)
            metrics.CLICKS.labels("mask" if predicted else "empty").inc()
        except (UnanswerableRegion, ImageError) as error:
            metrics.CLICKS.labels("unanswerable").inc()
            logger.error("task %s: the click got no mask: %s", task.get("id"), error)
            if regions.is_bare(result):
                raise UnanswerableRegion(str(error)) from error
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

    def _answer(
        self,
        service: Service,
        task: Mapping[str, Any],
        interactions: Sequence[Interaction],
        config: LabelingConfig,
    ) -> list[dict[str, Any]]:
        # before the images: none is fetched for an answer that cannot be given
        outputs = [config.output_for(one.to_name, one.label) for one in interactions]
        predicted: list[dict[str, Any]] = []
        predictions = self._masks(
            service, task, interactions, config, [output.second_look for output in outputs]
        )
        for interaction, output, prediction in zip(interactions, outputs, predictions, strict=True):
            if not prediction.mask.any():
                logger.warning("task %s: the model found nothing at the click", task.get("id"))
            predicted += rendering.render(prediction, interaction, output)
        return predicted

    def _answer_bare(
        self,
        service: Service,
        task: Mapping[str, Any],
        result: Sequence[Any],
        config: LabelingConfig,
    ) -> list[dict[str, Any]]:
        interaction = regions.parse_bare(result, config)
        (prediction,) = self._masks(service, task, [interaction], config, [True])
        if not prediction.mask.any():
            raise UnanswerableRegion("the model found nothing at the click: click elsewhere on it")
        return rendering.render_bare(prediction, interaction)

    def _masks(
        self,
        service: Service,
        task: Mapping[str, Any],
        interactions: Sequence[Interaction],
        config: LabelingConfig,
        second_look: Sequence[bool],
    ) -> list[MaskPrediction]:
        """The one place where clicks become masks; the objects of an image go together."""
        on_images: dict[tuple[str, int, tuple[int, int] | None, bool], list[int]] = {}
        for index, (one, twice) in enumerate(zip(interactions, second_look, strict=True)):
            image = one.to_name, one.item_index or 0, one.reported_size, twice
            on_images.setdefault(image, []).append(index)
        masks: dict[int, MaskPrediction] = {}
        for (to_name, item_index, reported_size, twice), indices in on_images.items():
            url = config.image_url(task, to_name, item_index)
            embedding = self._embedding(service, task, url, reported_size)
            prompts = [interactions[index].prompt(embedding.original_size) for index in indices]
            look = self._look(service, task, url, embedding.original_size) if twice else None
            found = service.segmenter.segment(embedding, prompts, look)
            masks.update(zip(indices, found, strict=True))
        return [masks[index] for index in range(len(interactions))]

    def _look(
        self, service: Service, task: Mapping[str, Any], url: str, original_size: tuple[int, int]
    ) -> Look:
        """Embeds tiles of an image; where that fails the first look has to do."""
        task_id = whole_number(task.get("id"))

        def load(tile: Tile) -> npt.NDArray[np.uint8]:
            image = service.images.load(url, task_id)
            if image.shape[:2] != original_size:
                raise ImageError("the image is not the one any more that was encoded before")
            return tile.cut(image)

        def look(tile: Tile) -> ImageEmbedding | None:
            try:
                return service.segmenter.embed_tile(
                    image_key(url), original_size, tile, lambda: load(tile), task_id=task_id
                )
            except ImageError as error:
                logger.warning(
                    "task %s: a small object was looked at only once: %s", task.get("id"), error
                )
                return None

        return look

    def _embedding(
        self,
        service: Service,
        task: Mapping[str, Any],
        url: str,
        reported_size: tuple[int, int] | None,
    ) -> ImageEmbedding:
        """The embedding of the image that the annotator sees."""
        task_id = whole_number(task.get("id"))
        embedding = service.segmenter.embed(
            image_key(url),
            lambda: service.images.load(url, task_id),
            reported_size,
            task_id=task_id,
        )
        if reported_size not in (None, embedding.original_size):
            shown, found = reported_size, embedding.original_size
            raise UnanswerableRegion(
                f"the editor shows an image of {shown[1]} x {shown[0]}, and the one fetched here"
                f" has {found[1]} x {found[0]}: reload the page"
            )
        return embedding
