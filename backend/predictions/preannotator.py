"""Gives the tasks of a project their predictions, each task one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from backend.embeddings.segmenter import Segmenter
from backend.label_studio import task_lists
from backend.label_studio.client import LabelStudio
from backend.label_studio.predictions import Predictions
from backend.predictions.boxes import OF_BOXES, PREDICTIONS, boxes_of, model_version
from backend.predictions.masks import predict_boxes
from backend.regions.labeling_config import LabelingConfig
from backend.regions.prompts import Interaction

Task = dict[str, Any]

_TASKS_A_PAGE = 10  # with all of their regions


@dataclass(frozen=True)
class Order:
    """What predictions a project is to get. Pickled for RQ workers.

    Attributes:
        project_id: the project.
        source: where the boxes come from, see :func:`backend.predictions.boxes.boxes_of`.
        labels: only boxes with one of these labels; empty for all boxes.
        replaces: whether tasks that have a prediction get it anew.
    """

    project_id: int
    source: str = PREDICTIONS
    labels: tuple[str, ...] = ()
    replaces: bool = False


class Outcome(Enum):
    """What became of a task. Failures are errors."""

    WRITTEN = "written"
    KEPT = "kept"  # the task had a prediction
    NO_BOXES = "no boxes"
    NO_MASKS = "no masks"  # the model found nothing in any box


class Preannotator:
    """Makes predictions of tasks and writes them. Threads may share a preannotator.

    Args:
        segmenter: embeds the images and predicts the masks; None where nothing is predicted.
        label_studio: where the tasks are.
        order: what to do.
        weights: the ``model_version`` of the weights.

    Raises:
        LabelStudioError: there is no such project, or no answer.
        MalformedRequestError: the project's labeling config cannot be read.
    """

    def __init__(
        self,
        segmenter: Segmenter | None,
        label_studio: LabelStudio,
        order: Order,
        weights: str,
    ) -> None:
        self._segmenter = segmenter
        self._label_studio = label_studio
        self._order = order
        self.project = label_studio.project(order.project_id)
        self.config = LabelingConfig.parse(self.project["label_config"])
        self._predictions = Predictions(label_studio, model_version(weights, OF_BOXES))

    @property
    def model_version(self) -> str:
        """The model_version of the predictions."""
        return self._predictions.model_version

    def open_tasks(self, ids: Sequence[int], *, removes_surplus: bool = False) -> list[int]:
        """The tasks that are to get a prediction.

        Args:
            ids: the tasks to choose from.
            removes_surplus: whether a task that has several predictions keeps only the oldest. Two
                writers can leave several if one of them is killed.

        Raises:
            LabelStudioError: no answer.
        """
        project_id = self._order.project_id
        known = task_lists.with_prediction(self._label_studio, project_id, ids, self.model_version)
        for task_id, may_have_several in known.items():
            if removes_surplus and may_have_several:
                self._predictions.only(task_id)
        return [task_id for task_id in ids if self._order.replaces or task_id not in known]

    def tasks(self, ids: Sequence[int]) -> Iterator[Task]:
        """Tasks with their regions.

        Raises:
            LabelStudioError: no answer.
        """
        for begin in range(0, len(ids), _TASKS_A_PAGE):
            page = ids[begin : begin + _TASKS_A_PAGE]
            yield from task_lists.with_regions(self._label_studio, self._order.project_id, page)

    def boxes(self, task: Task) -> list[Interaction]:
        """The boxes of a task, each with a tag that takes its mask.

        Raises:
            MalformedRequestError, UnanswerableRequestError: a box cannot become a mask.
        """
        boxes = boxes_of(task, self._order.source, self.config, self._order.labels)
        config = self.config.for_task(task)
        for box in boxes:
            config.output_for(box.to_name, box.labels)
        return boxes

    def preannotate(self, task: Task) -> Outcome:
        """Make and write the prediction of a task.

        Raises:
            MalformedRequestError, UnanswerableRequestError: a box cannot become a mask.
            ImageError: an image is not available.
            LabelStudioError: the prediction cannot be written.
        """
        assert self._segmenter is not None
        boxes = self.boxes(task)
        if not boxes:
            return Outcome.NO_BOXES
        prediction = predict_boxes(self._segmenter, task, boxes, self.config)
        if not prediction["result"]:
            return Outcome.NO_MASKS
        is_new = self._predictions.put(
            task["id"],
            self._order.project_id,
            prediction["result"],
            prediction["score"],
            replaces=self._order.replaces,
        )
        return Outcome.WRITTEN if is_new else Outcome.KEPT
