"""Gives the tasks of a project their predictions, each task one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum

from backend.embeddings.segmenter import Segmenter
from backend.label_studio import task_lists
from backend.label_studio.client import LabelStudio
from backend.label_studio.predictions import Predictions
from backend.predictions.detectors import Detector
from backend.predictions.orders import Order, Task
from backend.regions.labeling_config import LabelingConfig

_TASKS_A_PAGE = 10  # with all of their regions


class Outcome(Enum):
    """What became of a task. Failures are errors."""

    WRITTEN = "written"
    KEPT = "kept"  # the task had a prediction
    NO_BOXES = "no boxes"
    NO_MASKS = "no masks"  # the model found nothing


class Preannotator:
    """Makes predictions of tasks and writes them. Threads may share a preannotator.

    Args:
        label_studio: where the tasks are.
        project_id: the project of the tasks.
        order: which predictions are wanted.
        weights: the ``model_version`` of the weights.
        replaces: whether tasks that have a prediction get it anew.
        detector: finds boxes for tasks that have none; None to do without.

    Attributes:
        project: as Label Studio has it.
        config: the labeling config.

    Raises:
        LabelStudioError: there is no such project, or no answer.
        MalformedRequestError: the project's labeling config cannot be read.
    """

    def __init__(
        self,
        label_studio: LabelStudio,
        project_id: int,
        order: Order,
        weights: str,
        *,
        replaces: bool = False,
        detector: Detector | None = None,
    ) -> None:
        self._label_studio = label_studio
        self._project_id = project_id
        self.order = order
        self._replaces = replaces
        self._detector = detector
        self.project = label_studio.project(project_id)
        self.config = LabelingConfig.parse(self.project["label_config"])
        self._predictions = Predictions(label_studio, order.model_version(weights))

    @property
    def model_version(self) -> str:
        """The model_version of the predictions."""
        return self._predictions.model_version

    @property
    def unknown(self) -> Counter[str]:
        """How many boxes of the detector were left out, by their labels."""
        return self._detector.unknown.counts() if self._detector else Counter()

    def open_tasks(self, ids: Sequence[int], *, removes_surplus: bool = False) -> list[int]:
        """The tasks that are to get a prediction.

        Args:
            ids: the tasks to choose from.
            removes_surplus: whether a task that has several predictions keeps only the oldest. Two
                writers can leave several if one of them is killed.

        Raises:
            LabelStudioError: no answer.
        """
        known = task_lists.with_prediction(
            self._label_studio, self._project_id, ids, self.model_version
        )
        for task_id, may_have_several in known.items():
            if removes_surplus and may_have_several:
                self._predictions.only(task_id)
        return [task_id for task_id in ids if self._replaces or task_id not in known]

    def tasks(self, ids: Sequence[int]) -> Iterator[Task]:
        """Tasks with their regions.

        Raises:
            LabelStudioError: no answer.
        """
        for begin in range(0, len(ids), _TASKS_A_PAGE):
            page = ids[begin : begin + _TASKS_A_PAGE]
            yield from task_lists.with_regions(self._label_studio, self._project_id, page)

    def preannotate(self, segmenter: Segmenter, task: Task) -> Outcome:
        """Make and write the prediction of a task.

        Raises:
            MalformedRequestError, UnanswerableRequestError: there is no tag for the masks, or the
                task is not understood.
            DetectorError, ImageError: the detector gives no boxes, or an image is not available.
            LabelStudioError: the prediction cannot be written.
        """
        prediction = self.order.predict(segmenter, task, self.config, detector=self._detector)
        if prediction is None:
            return Outcome.NO_BOXES
        if not prediction["result"]:
            return Outcome.NO_MASKS
        is_new = self._predictions.put(
            task["id"],
            self._project_id,
            prediction["result"],
            prediction["score"],
            replaces=self._replaces,
        )
        return Outcome.WRITTEN if is_new else Outcome.KEPT
