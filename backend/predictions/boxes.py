"""The boxes of a task, as an annotation or another model has drawn them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.regions import prompts
from backend.regions.errors import MalformedRequestError
from backend.regions.labeling_config import LabelingConfig
from backend.regions.prompts import Interaction

PREDICTIONS = "predictions"
ANNOTATIONS = "annotations"
EITHER = "either"  # the boxes of predictions, or else those of annotations

# The last word of the model_version of this backend's own predictions, by what they are made from.
OF_BOXES = "boxes"
OF_EVERYTHING = "everything"
_WEIGHTS = "mobile-sam"  # the first word


def model_version(weights: str, made_from: str) -> str:
    """The model_version of predictions that nobody has clicked for.

    Args:
        weights: the ``model_version`` of the weights, such as "mobile-sam".
        made_from: ``OF_BOXES`` or ``OF_EVERYTHING``.
    """
    return f"{weights} {made_from}"


def is_own(version: Any) -> bool:
    """Whether a prediction is one that this backend has written, with these or other weights."""
    words = version.split() if isinstance(version, str) else []
    return (
        len(words) > 1 and words[0].startswith(_WEIGHTS) and words[-1] in (OF_BOXES, OF_EVERYTHING)
    )


def boxes_of(
    task: Mapping[str, Any], source: str, config: LabelingConfig, labels: Sequence[str] = ()
) -> list[Interaction]:
    """The boxes of a task; none where the source has none.

    Of several predictions the newest that has boxes counts, and of several annotations the ground
    truth, else the one that was changed last. Boxes of several models or annotators together would
    show every object twice.

    Args:
        task: as Label Studio has it, with ``predictions`` and ``annotations``.
        source: ``PREDICTIONS``, ``ANNOTATIONS``, ``EITHER``, or the model_version of predictions.
            The predictions of this backend are passed over, unless the source names them.
        config: the labeling config.
        labels: only boxes with one of these labels (values or aliases); empty for all boxes.

    Raises:
        MalformedRequestError, UnanswerableRequestError: see :func:`backend.regions.prompts.boxes`.
    """
    config = config.for_task(task)
    if source != ANNOTATIONS:
        for result in _predicted(task, PREDICTIONS if source == EITHER else source):
            found = prompts.boxes(result, config)
            if found:
                # Other models may tell the size of their own copy of the image.
                return [replace(box, reported_size=None) for box in found if has_label(box, labels)]
    if source in (ANNOTATIONS, EITHER):
        for result in _annotated(task):
            found = prompts.boxes(result, config)
            if found:
                return [box for box in found if has_label(box, labels)]
    return []


def _annotated(task: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """The regions of each annotation, the best first."""
    kept = [one for one in _objects(task, ANNOTATIONS) if not one.get("was_cancelled")]
    kept.sort(key=lambda one: (bool(one.get("ground_truth")), str(one.get("updated_at"))))
    return (_regions(one) for one in reversed(kept))


def _predicted(task: Mapping[str, Any], source: str) -> Iterator[Sequence[Any]]:
    """The regions of each prediction of a source, the newest first."""
    for prediction in sorted(_objects(task, PREDICTIONS), key=_id, reverse=True):
        version = prediction.get("model_version")
        is_wanted = not is_own(version) if source == PREDICTIONS else version == source
        if is_wanted:
            yield _regions(prediction)


def _objects(task: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = task.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _id(prediction: Mapping[str, Any]) -> int:
    number = prediction.get("id")
    return number if isinstance(number, int) else 0


def _regions(holder: Mapping[str, Any]) -> Sequence[Any]:
    result = holder.get("result")
    if not isinstance(result, list | None):
        raise MalformedRequestError("the result of a prediction must be a list of regions")
    return result or []


def has_label(box: Interaction, labels: Sequence[str]) -> bool:
    """Whether a box has one of these labels (values or aliases); True where there are none."""
    return not labels or any(name in (x.value, x.alias) for x in box.labels for name in labels)
