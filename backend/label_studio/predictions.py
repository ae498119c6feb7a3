"""Writes predictions: a task has exactly one of each model_version, whoever else writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioAnswerError, LabelStudioError

_PATH = "/api/predictions/"
_ATTEMPTS = 3
_WAIT_S = 2.0  # before the second attempt; twice as long before the third


class Predictions:
    """The predictions of one model_version. Threads and processes may write at the same time.

    Args:
        label_studio: the client.
        model_version: of every prediction.
    """

    def __init__(self, label_studio: LabelStudio, model_version: str) -> None:
        self._label_studio = label_studio
        self.model_version = model_version

    def only(self, task_id: int) -> int | None:
        """The id of a task's prediction, or None. Of several, all but the oldest are deleted.

        Whoever writes calls this afterwards. Of two writers at the same time, the later one sees
        both predictions.

        Raises:
            LabelStudioError: no answer.
        """
        found = self._label_studio.call("GET", _PATH, task=task_id)
        ids = sorted(one["id"] for one in found if one["model_version"] == self.model_version)
        for surplus in ids[1:]:
            self._delete(surplus)
        return ids[0] if ids else None

    def put(
        self,
        task_id: int,
        project_id: int,
        result: list[dict[str, Any]],
        score: float,
        *,
        replaces: bool,
    ) -> bool:
        """Write a task's prediction, unless the task has one.

        Args:
            task_id, project_id: the task.
            result: the regions.
            score: of the prediction, 0 to 1.
            replaces: whether the prediction that the task has gets the new regions.

        Returns:
            Whether the prediction was written.

        Raises:
            LabelStudioError: Label Studio refuses the prediction, or does not answer.
        """
        body = {
            "task": task_id,
            "project": project_id,
            "model_version": self.model_version,
            "result": result,
            "score": score,
        }
        before = self.only(task_id)
        if before is None:
            self._create(task_id, body)
        elif replaces:
            self._label_studio.call("PATCH", f"{_PATH}{before}/", body)
        return before is None or replaces

    def _create(self, task_id: int, body: Mapping[str, Any]) -> None:
        """Write a new prediction. An attempt that failed may have succeeded: look before the next.

        The HTTP client must not repeat the request by itself, because it does not look.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._label_studio.call("POST", _PATH, body, attempts=1)
                self.only(task_id)
                return
            except LabelStudioError as error:
                if attempt == _ATTEMPTS or _is_rejected(error):
                    raise
                time.sleep(_WAIT_S * attempt)
            if self.only(task_id) is not None:
                return

    def _delete(self, prediction_id: int) -> None:
        try:
            self._label_studio.call("DELETE", f"{_PATH}{prediction_id}/")
        except LabelStudioAnswerError as error:
            if error.status != HTTPStatus.NOT_FOUND:  # another writer may have deleted it
                raise


def _is_rejected(error: LabelStudioError) -> bool:
    """Whether Label Studio would answer the same to another attempt."""
    return isinstance(error, LabelStudioAnswerError) and error.status < 500
