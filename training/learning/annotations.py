"""What a project's annotators have outlined, as Label Studio's API tells.

Label Studio 1.23 stores for each region of an annotation:

- ``origin``: ``prediction`` where a region of a prediction was submitted as it was,
  ``prediction-changed`` where the region was changed, else ``manual``. A mask that a click brought
  is ``manual`` too, and has the ``score`` of the suggestion.
- ``id``: a region of a prediction keeps its id in the annotation.

The prediction itself stays with the task. So a region is compared with the region of a prediction
that has the same id.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from backend.embeddings.priority import Priority
from backend.embeddings.segmenter import Segmenter
from backend.images.image_ref import ImageRef
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig
from backend.regions.region_masks import Region, read_regions
from model.crops import Crop
from model.types import ImageEmbedding
from training.learning.pictures import Object, Origin, Picture

# A rectangle says nothing of the edge of an object. Many rectangles are left-over prompts.
_OUTLINES = ("brush", "bitmask", "polygon", "ellipse")
# The embeddings of a task with its crops are 2 to 10 MB on disk while a run goes on.
MOST_TASKS = 1500
_KEPT = ("id", "data", "annotations", "predictions")  # of a task


@dataclass(frozen=True)
class Annotated:
    """What there is to learn from.

    Attributes:
        pictures: every image with an outlined object.
        origins: how many objects came about in each way.
        failures: a sentence for each task or region that could not be read.
        data_hash: of all annotations that were read.
    """

    pictures: Sequence[Picture]
    origins: Mapping[Origin, int]
    failures: Sequence[str]
    data_hash: str

    @property
    def tasks(self) -> int:
        """How many tasks have an outlined object."""
        return len({picture.task_id for picture in self.pictures})

    @property
    def objects(self) -> int:
        """How many objects are outlined."""
        return sum(self.origins.values())


def snapshot(tasks: Iterable[Mapping[str, Any]], most: int = MOST_TASKS) -> list[dict[str, Any]]:
    """What a run keeps of the tasks: their data, the annotation that counts, the predictions.

    Cancelled annotations do not count. Of several annotations, ground truth counts, else the
    newest.

    Args:
        tasks: as the API gives annotated tasks, the newest last.
        most: how many tasks are kept; the newest stay.
    """
    kept: deque[dict[str, Any]] = deque(maxlen=most)
    for task in tasks:
        annotation = _annotation(task.get("annotations") or [])
        if annotation is not None:
            fields = {name: task.get(name) for name in _KEPT}
            kept.append({**fields, "annotations": [annotation]})
    return list(kept)


def read_annotations(
    tasks: Sequence[Mapping[str, Any]], config: LabelingConfig, segmenter: Segmenter
) -> Annotated:
    """The outlined objects of a snapshot.

    Args:
        tasks: as :func:`snapshot` gives them.
        config: the labeling config of the project.
        segmenter: embeds the images.
    """
    failures: list[str] = []
    pictures = [
        picture for task in tasks for picture in _pictures(task, config, segmenter, failures)
    ]
    origins = Counter(one.origin for picture in pictures for one in picture.objects)
    results = [[task["id"], task["annotations"][0].get("result")] for task in tasks]
    digest = hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()
    return Annotated(pictures, origins, failures, digest)


def _annotation(annotations: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The annotation of a task that counts."""
    finished = [one for one in annotations if not one.get("was_cancelled")]
    order = ("ground_truth", "updated_at", "id")
    ranks = [tuple(str(one.get(name)) for name in order) for one in finished]
    return finished[ranks.index(max(ranks))] if finished else None


def _pictures(
    task: Mapping[str, Any],
    config: LabelingConfig,
    segmenter: Segmenter,
    failures: list[str],
) -> Iterator[Picture]:
    """A picture for each image of a task that has outlined objects."""
    try:
        shown = config.for_task(task)
        regions = read_regions(task["annotations"][0].get("result") or [])
        suggested = _regions_of_predictions(task.get("predictions") or [])
    except (MalformedRequestError, UnanswerableRequestError) as error:
        failures.append(f"task {task['id']}: {error}")
        return
    clues = {str(item.get("id", "")): item for item in task["annotations"][0].get("result") or []}
    by_image: dict[tuple[ImageRef, tuple[int, int]], list[Object]] = {}
    for region in regions:
        size = region.original_size
        if region.shape not in _OUTLINES or size is None:
            continue
        try:
            ref = shown.image_ref(task, region.to_name, region.item_index or 0)
            has_area = region.mask(size).any()
        except (MalformedRequestError, UnanswerableRequestError) as error:
            failures.append(f"task {task['id']}: {error}")
            continue
        if has_area:
            origin = _origin(region, clues.get(region.region_id, {}), suggested)
            one = Object(partial(region.mask, size), origin)
            by_image.setdefault((ref, size), []).append(one)
    for (ref, size), objects in by_image.items():
        embed = partial(segmenter.embed, ref, reported_size=size, priority=Priority.REST)
        yield Picture(str(ref), task["id"], objects, embed, _crops(segmenter, ref, embed))


def _crops(
    segmenter: Segmenter, ref: ImageRef, embed: functools.partial[ImageEmbedding]
) -> functools.partial[ImageEmbedding | None]:
    def embed_crop(crop: Crop) -> ImageEmbedding | None:
        return segmenter.embed_crop(ref, embed(), Priority.CLICK, crop)

    return partial(embed_crop)


def _regions_of_predictions(predictions: Iterable[Mapping[str, Any]]) -> dict[str, Region]:
    """The regions of all predictions of a task, by id. Regions without an id are left out."""
    regions = [region for one in predictions for region in read_regions(one.get("result") or [])]
    return {region.region_id: region for region in regions if region.region_id}


def _origin(region: Region, item: Mapping[str, Any], suggested: Mapping[str, Region]) -> Origin:
    prediction = suggested.get(region.region_id)
    if prediction is not None and prediction.original_size == region.original_size:
        is_same = _geometry(prediction) == _geometry(region)
        return Origin.ACCEPTED if is_same else Origin.CORRECTED
    match item.get("origin"):
        case "prediction":
            return Origin.ACCEPTED
        case "prediction-changed":
            return Origin.CORRECTED
    return Origin.MANUAL if item.get("score") is None else Origin.CLICKED


def _geometry(region: Region) -> Mapping[str, Any]:
    """The value of a region without its labels: another label is no correction of the mask."""
    return {name: value for name, value in region.value.items() if not name.endswith("labels")}
