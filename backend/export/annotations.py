"""Which annotations of a task are exported, and which images of the task they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from backend.export.report import Note, Report
from backend.images.image_ref import ImageRef
from backend.regions.controls import Control
from backend.regions.errors import MalformedRequestError
from backend.regions.labeling_config import LabelingConfig, whole_number
from backend.regions.region_masks import SHAPES, Region, check_size, read_regions

_NO_REGION_OF_ITS_OWN = ("labels", "relation")


class Choice(StrEnum):
    """Which annotations of a task are exported, where several people have annotated it."""

    ONE = "one"  # the ground truth, else the annotation that was changed last
    GROUND_TRUTH = "ground-truth"
    ALL = "all"


@dataclass(frozen=True)
class Annotated:
    """A region, and the labels as the labeling config writes them.

    Attributes:
        annotation_id: the annotation that has the region.
        region: the shape.
        labels: values, or aliases where the config has aliases.
    """

    annotation_id: int | None
    region: Region
    labels: tuple[str, ...]


@dataclass(frozen=True)
class AnnotatedImage:
    """An image that somebody has annotated, perhaps with nothing on it.

    Attributes:
        ref: where the image is.
        objects: what is drawn on it.
    """

    ref: ImageRef
    objects: tuple[Annotated, ...]

    @property
    def original_size(self) -> tuple[int, int] | None:
        """(H, W) that the regions tell; None where none of them does.

        Raises:
            MalformedRequestError: they disagree, or no image of this size can be loaded.
        """
        sizes = {one.region.original_size for one in self.objects} - {None}
        if len(sizes) > 1:
            told = " and ".join(f"{size[1]} x {size[0]}" for size in sizes if size is not None)
            raise MalformedRequestError(
                f"its regions were drawn on images of {told} pixels: has the image been replaced?"
            )
        size = next(iter(sizes), None)
        if size is not None:
            check_size(size)
        return size


class AnnotationReader:
    """Reads tasks as Label Studio has them. What is left out is counted in a report.

    Args:
        config: the labeling config.
        choice: which annotations count.
        tags: the names of the control tags whose regions count; empty for all that mark objects. A
            smart rectangle beside another tag for masks is there to prompt with.
        report: gets notes and failures.
    """

    def __init__(
        self, config: LabelingConfig, choice: Choice, tags: Sequence[str], report: Report
    ) -> None:
        self._config = config
        self._choice = choice
        self._tags = frozenset(tags)
        self._report = report
        names = {control.name for control in config.controls}
        if self._tags - names:
            raise ValueError(
                f"the labeling config has no tag {', '.join(sorted(self._tags - names))}:"
                f" its tags are {', '.join(sorted(names))}"
            )

    def images(self, task: Mapping[str, Any]) -> list[AnnotatedImage]:
        """The images of a task; none where the task counts as not annotated.

        Raises:
            MalformedRequestError, UnanswerableRequestError: the task or an annotation cannot be
                read.
        """
        annotations = self._chosen(task)
        if not annotations:
            return []
        config = self._config.for_task(task)
        objects: dict[tuple[str, int], list[Annotated]] = {}
        for annotation in annotations:
            for one in self._objects(annotation, config):
                place = (one.region.to_name, one.region.item_index or 0)
                objects.setdefault(place, []).append(one)
        images = [
            AnnotatedImage(config.image_ref(task, *place), tuple(objects.pop(place, ())))
            for place in _places(task, config)
        ]
        for (to_name, index), lost in objects.items():
            self._report.failures.append(
                (
                    f"task {task.get('id')}",
                    f'{len(lost)} regions are on image {index + 1} of the tag "{to_name}", and the'
                    " task has no such image",
                )
            )
        return images

    def _chosen(self, task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        notes, annotations = self._report.notes, _annotations(task)
        kept = [one for one in annotations if not one.get("was_cancelled")]
        if not kept:
            notes[Note.SKIPPED if annotations else Note.NOT_ANNOTATED] += 1
            return []
        if self._choice is Choice.ALL:
            return kept
        if self._choice is Choice.GROUND_TRUTH:
            kept = [one for one in kept if one.get("ground_truth")]
            if not kept:
                notes[Note.NO_GROUND_TRUTH] += 1
                return []
        notes[Note.OTHER_ANNOTATIONS] += len(kept) - 1
        return [max(kept, key=_rank)]

    def _objects(self, annotation: Mapping[str, Any], config: LabelingConfig) -> list[Annotated]:
        result = annotation.get("result") or []
        if not isinstance(result, list):
            raise MalformedRequestError("the result of an annotation must be a list of regions")
        regions = read_regions(result)
        self._report.notes[Note.NO_SHAPE] += _count_without_area(result)
        prompts = {control.name for control in config.controls if is_prompt(control, config)}
        kept = []
        for region in regions:
            if self._tags and region.from_name not in self._tags:
                self._report.notes[Note.OTHER_TAGS] += 1
            elif not self._tags and region.from_name in prompts:
                self._report.notes[Note.PROMPTS] += 1
            else:
                kept.append(region)
        number = whole_number(annotation.get("id"))
        return [Annotated(number, region, _labels(region, config)) for region in kept]


def is_prompt(control: Control, config: LabelingConfig) -> bool:
    """Whether a tag is there to prompt with: a smart rectangle beside a tag that takes masks."""
    if control.shape != "rectangle" or not control.is_smart:
        return False
    return all(
        control.name not in {output.name for output in config.outputs(to_name)}
        for to_name in control.to_names
    )


def classes(config: LabelingConfig, tags: Sequence[str]) -> list[str]:
    """The labels that objects can have, in the order of the config.

    Labels that come from tasks are not there.

    Args:
        config: the labeling config.
        tags: see :class:`AnnotationReader`.
    """
    names = [
        label.name
        for control in config.controls
        if control.type == "Labels" or _marks_objects(control, config, tags)
        for label in control.labels
        if not label.value.startswith("$")
    ]
    return list(dict.fromkeys(names))


def _marks_objects(control: Control, config: LabelingConfig, tags: Sequence[str]) -> bool:
    if tags:
        return control.name in tags
    return control.shape in SHAPES and not is_prompt(control, config)


def _annotations(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = task.get("annotations")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _rank(annotation: Mapping[str, Any]) -> tuple[bool, str, int]:
    number = annotation.get("id")
    return (
        bool(annotation.get("ground_truth")),
        str(annotation.get("updated_at")),
        number if isinstance(number, int) else 0,
    )


def _places(task: Mapping[str, Any], config: LabelingConfig) -> list[tuple[str, int]]:
    """The images of a task on which objects can be drawn: the tag, and the index in its list.

    Raises:
        UnanswerableRequestError: the task has no image for a tag.
    """
    places = []
    for to_name, source in config.image_variables.items():
        controls = [one for one in config.controls if to_name in one.to_names]
        if not any(control.shape in SHAPES for control in controls):
            continue
        urls = source.urls(task.get("data"))
        if not urls:
            config.image_ref(task, to_name)  # raises the error that says why
        places += [(to_name, index) for index, url in enumerate(urls) if url]
    return places


def _labels(region: Region, config: LabelingConfig) -> tuple[str, ...]:
    names = (config.label(region.from_name, name).name for name in region.labels)
    return tuple(dict.fromkeys(names))


def _count_without_area(result: Sequence[Mapping[str, Any]]) -> int:
    """How many regions on an image are no shape: points, lines and so on."""
    ids = {
        str(item.get("id"))
        for item in result
        if "original_width" in item
        and item.get("type") not in _NO_REGION_OF_ITS_OWN
        and _kind(item) not in SHAPES
    }
    shapes = {str(item.get("id")) for item in result if _kind(item) in SHAPES}
    return len(ids - shapes)


def _kind(item: Mapping[str, Any]) -> str:
    return str(item.get("type")).removesuffix("labels")
