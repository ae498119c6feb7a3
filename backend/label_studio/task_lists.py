"""Which tasks a project has, and which of them have a prediction of a model_version already.

The lists are short: Label Studio leaves out the regions. Only :func:`with_regions` has them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioAnswerError, LabelStudioError

_PAGE = 500  # tasks


def task_ids(label_studio: LabelStudio, project_id: int, view_id: int | None) -> list[int]:
    """The ids of the tasks of a project, or of those that a view of the Data Manager shows.

    Raises:
        LabelStudioError: there is no such project or view, or no answer.
    """
    if view_id is None:
        return [task["id"] for task in label_studio.all_tasks(project_id, _PAGE)]
    _require_view(label_studio, project_id, view_id)
    ids: list[int] = []
    for page in itertools.count(1):
        found = label_studio.call(
            "GET",
            "/api/tasks/",
            project=project_id,
            view=view_id,
            page=page,
            page_size=_PAGE,
            fields="task_only",
        )
        ids += [task["id"] for task in found["tasks"]]
        if len(ids) >= found["total"] or not found["tasks"]:
            break
    return ids


def with_prediction(
    label_studio: LabelStudio, project_id: int, ids: Sequence[int], model_version: str
) -> dict[int, bool]:
    """The tasks that have a prediction of a model_version.

    Returns:
        For each such task, whether it may have several of them: it has more predictions than
        model_versions.

    Raises:
        LabelStudioError: no answer.
    """
    contains = {
        "filter": "filter:tasks:predictions_model_versions",
        "operator": "contains",
        "type": "List",
        "value": [model_version],
    }
    filters = {"conjunction": "and", "items": [contains]}
    found = {}
    for task in _tasks(label_studio, project_id, ids, "task_only", {"filters": filters}):
        # The filter finds longer names too. Label Studio gives the names in one text.
        versions = [name.strip() for name in task["predictions_model_versions"].split(",")]
        if model_version in versions:
            found[task["id"]] = task["total_predictions"] > len(versions)
    return found


def with_regions(
    label_studio: LabelStudio, project_id: int, ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Tasks with all of their annotations and predictions, in the order of their ids.

    Where Label Studio cannot give all of them at once, since many masks take too much time or
    space, it is asked for half of them at a time.

    Raises:
        LabelStudioError: no answer, even for a single task.
    """
    try:
        return _tasks(label_studio, project_id, ids, "all", {})
    except LabelStudioError:
        if len(ids) < 2:
            raise
    half = len(ids) // 2
    parts = (with_regions(label_studio, project_id, part) for part in (ids[:half], ids[half:]))
    return [task for part in parts for task in part]


def _require_view(label_studio: LabelStudio, project_id: int, view_id: int) -> None:
    try:
        found = label_studio.call("GET", f"/api/dm/views/{view_id}/")["project"]
    except LabelStudioAnswerError:
        found = None
    if found != project_id:
        raise LabelStudioError(
            f"project {project_id} has no view {view_id} in its Data Manager: take the number after"
            " tab= in the address of the page"
        )


def _tasks(
    label_studio: LabelStudio,
    project_id: int,
    ids: Sequence[int],
    fields: str,
    query: dict[str, Any],
) -> list[dict[str, Any]]:
    chosen = {"selectedItems": {"all": False, "included": list(ids)}, "ordering": ["tasks:id"]}
    page = label_studio.call(
        "GET",
        "/api/tasks/",
        project=project_id,
        page_size=len(ids),
        fields=fields,
        query=json.dumps({**chosen, **query}),
    )
    tasks: list[dict[str, Any]] = page["tasks"]
    return tasks
