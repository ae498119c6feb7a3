"""The class that Label Studio's ML backend library calls: the plugin.

Label Studio calls this class the model. In this project, the model is the network. A plugin is made
for each request, as in label-studio-ml. Everything that outlives a request is in
:class:`backend.service.Service`, and each process has one service.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from backend import metrics
from backend.embeddings.segmenter import Segmenter
from backend.embeddings.waiting_room import TooManyWaitingError
from backend.images.errors import ImageError
from backend.label_studio import project_uid
from backend.predictions import masks
from backend.quality.recorder import Shown
from backend.regions import prompts, rendering
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig, whole_number
from backend.regions.outputs import TAGLESS_OUTPUT
from backend.service import Service
from backend.settings import Settings

# label-studio-ml imports torch if torch is installed, but needs only torch.multiprocessing. While
# torch is hidden, the library uses Python's multiprocessing, and the process stays small.
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

    Runs under the server of this project and under the servers of label-studio-ml 1.0.9 and 2.x.
    """

    service: ClassVar[Service | None] = None
    _starting: ClassVar[threading.Lock] = threading.Lock()
    _of_request: Service | None = None

    def use(self, service: Service) -> None:
        """Answer with this service. Without it, the service of the process answers."""
        self._of_request = service

    @classmethod
    def shared_service(cls) -> Service:
        """The service of this process under a server of label-studio-ml.

        Such a server serves one Label Studio. The service is started at the first call.
        """
        with cls._starting:
            if cls.service is None:
                MobileSAMBackend.service = Service.start(Settings.from_env().of_team(None))
                MobileSAMBackend.service.start_background()
            assert cls.service is not None
            return cls.service

    def predict(
        self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Answer one request.

        Args:
            tasks: as Label Studio sends them. An interactive request has exactly one task.
            context: ``{"result": [smart regions]}``, ``{"event": name}`` of the coming editor,
                or None when nobody has clicked.
            kwargs: ``project`` is Label Studio's name of the project. Where the task does not say
                which project it belongs to, this name does.

        Returns:
            One entry per task. When nobody has clicked, the entry is an empty list, or a prediction
            where the labeling config asks for masks. After a click the entry is a prediction, and
            its ``result`` has a region for each object. A click without an answer gets an empty
            ``result``, and a line in the log says why.

        Raises:
            MalformedRequestError: the request is not as Label Studio writes it.
            TooManyWaitingError: too many clicks wait for images already.
            UnanswerableRequestError: a prompt of the coming editor has no answer. The coming
                editor shows errors. Today's editor does not.
        """
        service = self._of_request or self.shared_service()
        config = LabelingConfig.parse(self.label_config)
        context = context or {}
        result = context.get("result")
        if result is None:
            event = context.get("event")
            if event in (None, "prewarm"):  # other events need no work
                service.prefetcher.tasks_opened(tasks, config)
            return service.retrieval.answer(tasks, config) if event is None else [[] for _ in tasks]
        task = tasks[0]
        project_id = _project_id(task, kwargs)
        decoder = service.decoders.of(project_id)
        predicted: list[dict[str, Any]] = []
        try:
            segmenter = service.segmenter.with_decoder(decoder.predictor, decoder.model_version)
            shown = _predict_regions(segmenter, task, result, config)
            predicted = [region for _, regions in shown for region in regions]
            service.recorder.shown(project_id, whole_number(task.get("id")), decoder.version, shown)
            metrics.CLICKS.labels("mask" if predicted else "empty").inc()
        except (UnanswerableRequestError, ImageError) as error:
            metrics.CLICKS.labels("unanswerable").inc()
            metrics.FAILURES.labels(_cause(error)).inc()
            logger.error("task %s: the click got no mask: %s", task.get("id"), error)
            if isinstance(error, TooManyWaitingError):
                raise
            if prompts.is_tagless(result):
                raise UnanswerableRequestError(str(error)) from error
        return [
            {
                "result": predicted,
                "score": min((region["score"] for region in predicted), default=0.0),
                "model_version": decoder.model_version,
            }
        ]

    def fit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Do nothing: the learner is a process of its own (``python -m backend learn``)."""
        return {}


def _cause(error: Exception) -> str:
    """Of a click without a mask, for /metrics."""
    if isinstance(error, TooManyWaitingError):
        return "overload"
    return "image" if isinstance(error, ImageError) else "task"


def _project_id(task: Mapping[str, Any], arguments: Mapping[str, Any]) -> int | None:
    project_id = whole_number(task.get("project"))
    return project_uid.project_id(arguments.get("project")) if project_id is None else project_id


def _predict_regions(
    segmenter: Segmenter,
    task: Mapping[str, Any],
    result: Sequence[Any],
    config: LabelingConfig,
) -> list[Shown]:
    """The regions that Label Studio draws in answer to each of the annotator's prompts."""
    config = config.for_task(task)
    interactions = prompts.parse(result, config)
    # Before the images: without an output, no image needs to be fetched.
    outputs = [
        TAGLESS_OUTPUT
        if interaction.is_tagless
        else config.output_for(interaction.to_name, interaction.labels)
        for interaction in interactions
    ]
    rendered: dict[int, list[dict[str, Any]]] = {}
    for index, prediction in masks.segment(segmenter, task, interactions, outputs, config):
        interaction = interactions[index]
        if not prediction.mask.any():
            if interaction.is_tagless:
                raise UnanswerableRequestError(
                    "the model found nothing at the click: click elsewhere on the object"
                )
            logger.warning("task %s: the model found nothing at the click", task.get("id"))
        rendered[index] = rendering.render(prediction, interaction, outputs[index])
    return [(interactions[index], rendered[index]) for index in sorted(rendered)]
