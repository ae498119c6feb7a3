"""Which predictions are wanted, and the predictions themselves: nothing is written here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.embeddings.priority import Priority
from backend.embeddings.segmenter import Segmenter
from backend.predictions import boxes
from backend.predictions.detectors import Detector
from backend.predictions.masks import predict_boxes, predict_everything
from backend.regions.labeling_config import LabelingConfig
from backend.regions.prompts import Interaction
from model.everything import EverythingSettings

Task = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """Which predictions are wanted. Orders are pickled for RQ workers.

    Attributes:
        source: where the boxes come from, see :func:`backend.predictions.boxes.boxes_of`.
        labels: only boxes with one of these labels; empty for all boxes. Of everything, the one
            label of the masks; empty where the labeling config has one label only, or none.
        everything: what counts as an object, where the masks of all objects are wanted. None:
            the masks of boxes.
        detector: finds boxes for tasks that have none, see
            :func:`backend.predictions.detectors.connect`. None: such tasks get no masks.
    """

    source: str = boxes.PREDICTIONS
    labels: tuple[str, ...] = ()
    everything: EverythingSettings | None = None
    detector: str | None = None

    def model_version(self, weights: str) -> str:
        """The model_version of the predictions.

        Args:
            weights: the ``model_version`` of the weights.
        """
        made_from = boxes.OF_EVERYTHING if self.everything else boxes.OF_BOXES
        return boxes.model_version(weights, made_from)

    def boxes(
        self, task: Task, config: LabelingConfig, detector: Detector | None = None
    ) -> list[Interaction]:
        """The boxes of a task, each with a tag that takes its mask.

        Args:
            task: as Label Studio has it.
            config: the labeling config.
            detector: finds boxes where the task has none; None to do without.

        Raises:
            MalformedRequestError, UnanswerableRequestError: a box cannot become a mask.
            DetectorError, ImageError: the detector gives no boxes, or an image is not available.
        """
        found = boxes.boxes_of(task, self.source, config, self.labels)
        if not found and detector is not None:
            detected = detector.boxes(task, config)
            found = [box for box in detected if boxes.has_label(box, self.labels)]
        config = config.for_task(task)
        for box in found:
            config.output_for(box.to_name, box.labels)
        return found

    def predict(
        self,
        segmenter: Segmenter,
        task: Task,
        config: LabelingConfig,
        priority: Priority = Priority.REST,
        detector: Detector | None = None,
    ) -> dict[str, Any] | None:
        """The prediction of a task; None where the task has no boxes.

        Args:
            segmenter: embeds the images and predicts the masks.
            task: as Label Studio has it.
            config: the labeling config.
            priority: how urgent the embeddings are.
            detector: see :meth:`boxes`.

        Raises:
            MalformedRequestError, UnanswerableRequestError: there is no tag for the masks, or the
                task is not understood.
            DetectorError, ImageError: the detector gives no boxes, or an image is not available.
        """
        if self.everything is not None:
            label = self.labels[0] if self.labels else None
            return predict_everything(segmenter, task, label, config, self.everything, priority)
        found = self.boxes(task, config, detector)
        return predict_boxes(segmenter, task, found, config, priority) if found else None
