"""Requests in which nobody has clicked, without a Label Studio."""

import logging
from typing import Any, cast

import pytest

from backend.embeddings.segmenter import Segmenter
from backend.images.errors import ImageError
from backend.predictions.retrieval import Retrieval
from backend.regions.labeling_config import LabelingConfig

CONFIG = LabelingConfig.parse(
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image"'
    ' model_preannotate="everything" model_preannotate_label="Cat"><Label value="Cat"/>'
    "</BrushLabels></View>"
)


class WithoutImages:
    """Plays the segmenter: its images cannot be loaded."""

    model_version = "mobile-sam"

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> None:
            raise ImageError("the image is not there")

        return fail


@pytest.mark.parametrize("task_id", [[1], {"a": 1}, "1", None, 10**400])
def test_a_task_with_an_odd_id_gets_an_answer(task_id: Any) -> None:
    retrieval = Retrieval(lambda _: cast(Segmenter, WithoutImages()), None)
    task = {"id": task_id, "project": 1, "data": {"image": "http://host/a.png"}}
    assert retrieval.answer([task], CONFIG) == [[]]


@pytest.mark.parametrize(("team", "end"), [("", "--project 3"), ("red", "--project 3 --team red")])
def test_the_log_says_how_late_tasks_get_their_masks(
    caplog: pytest.LogCaptureFixture, team: str, end: str
) -> None:
    retrieval = Retrieval(lambda _: cast(Segmenter, WithoutImages()), None, team=team)
    # An answer has 200 tasks at most. Without a Label Studio the others are dropped.
    image = {"image": "http://host/a.png"}
    tasks = [{"id": n, "project": 3, "data": image} for n in range(201)]
    with caplog.at_level(logging.WARNING):
        retrieval.answer(tasks, CONFIG)
    (hint,) = [one for one in caplog.messages if "in time" in one]
    assert hint.endswith(end)
