"""Which formats Label Studio can export the masks of a labeling config to.

Label Studio's converter (``label_studio_sdk.converter``) reports no loss: the exported file is
empty, has other classes or lacks the masks. The rules here are what the converter does, found by
running it. A test compares both for every example and many other configs.

``backend.export`` loses no mask, whatever the config is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backend.regions.controls import Control
from backend.regions.labeling_config import LabelingConfig

COCO = "COCO"
YOLO = "YOLO"
VOC = "Pascal VOC XML"
BRUSH_TO_COCO = "Brush labels to COCO"
BRUSH_TO_PNG = "Brush labels to PNG"
BRUSH_TO_NUMPY = "Brush labels to NumPy"

# The names are those of Label Studio's export dialog. JSON, JSON-MIN, CSV and TSV are not here:
# they have every region of every config.
FORMATS = (COCO, YOLO, VOC, BRUSH_TO_COCO, BRUSH_TO_PNG, BRUSH_TO_NUMPY)
_FILES_PER_MASK = (BRUSH_TO_PNG, BRUSH_TO_NUMPY)
_BRUSH_FORMATS = (BRUSH_TO_COCO, *_FILES_PER_MASK)

# What somebody who draws such masks expects to export. Of other formats only those are worth a
# word that the export dialog offers all the same.
_EXPECTED = {
    "brush": _BRUSH_FORMATS,
    "polygon": (COCO, YOLO),
    "rectangle": (COCO, YOLO, VOC),
    "bitmask": FORMATS,
    "ellipse": FORMATS,
}

# What doctor says where Label Studio loses masks.
OWN_EXPORT = "`python -m backend export` writes COCO, YOLO and PNG files of every config"

# The field of the task is the whole value: the converter looks for a field of that name.
_FIELD = re.compile(r"\$\w+")


@dataclass(frozen=True)
class Exports:
    """What becomes of a project's masks at export.

    Attributes:
        formats: the formats that have every mask with its label.
        obstacles: a sentence for each reason why other formats do not: cause and remedy.
    """

    formats: tuple[str, ...]
    obstacles: tuple[str, ...]


@dataclass(frozen=True)
class _Obstacle:
    because: str
    use: str


def exports(config: LabelingConfig) -> Exports:
    """Find out which formats a config's masks can be exported to.

    Raises:
        UnanswerableRequestError: an attribute of a tag has a value that is not allowed.
    """
    controls = list(_mask_controls(config))
    offered = _offered(config)
    lost: dict[_Obstacle, list[str]] = {}
    possible = []
    for name in FORMATS:
        obstacles = [_obstacle(name, control, config) for control in controls]
        found = [obstacle for obstacle in obstacles if obstacle is not None]
        if controls and not found and name in offered:
            possible.append(name)
        elif found and (name in offered or any(name in _EXPECTED[c.shape] for c in controls)):
            lost.setdefault(found[0], []).append(name)
    return Exports(tuple(possible), tuple(_sentence(names, why) for why, names in lost.items()))


def _mask_controls(config: LabelingConfig) -> Iterator[Control]:
    """The tags that take masks, each once."""
    seen = set()
    for image in config.image_variables:
        for control in config.outputs(image):
            if control.name not in seen:
                seen.add(control.name)
                yield control
            if not control.has_labels:
                break  # this tag takes the masks of every label


def _offered(config: LabelingConfig) -> frozenset[str]:
    """The formats that Label Studio's export dialog offers."""
    types = {control.type for control in config.controls}
    sources = config.image_variables.values()
    if len({source.value for source in sources}) != 1:
        return frozenset()
    offered = set()
    if types & {"BrushLabels"} or {"Brush", "Labels"} <= types:
        offered |= {*_BRUSH_FORMATS}
    if any(source.is_list for source in sources):
        return frozenset(offered)
    if "RectangleLabels" in types or {"Rectangle", "Labels"} <= types:
        offered |= {VOC, COCO, YOLO}
    if "PolygonLabels" in types and "KeyPointLabels" not in types:
        offered |= {COCO, YOLO}
    if "KeyPointLabels" in types and "RectangleLabels" not in types:
        offered -= {COCO, YOLO}
    return frozenset(offered)


def _obstacle(name: str, control: Control, config: LabelingConfig) -> _Obstacle | None:
    """Why a format does not have the masks of a tag; None where the format has them."""
    return _obstacle_of_images(name, config) or _obstacle_of_shape(name, control, config)


def _obstacle_of_images(name: str, config: LabelingConfig) -> _Obstacle | None:
    sources = config.image_variables.values()
    if len({source.value for source in sources}) > 1:
        return _Obstacle("a task has several Image tags", "JSON, or one Image in each task")
    if name in _FILES_PER_MASK:
        return None
    if any(source.is_list or "{{" in source.value for source in sources):
        return _Obstacle(
            "a task has several images", "Brush labels to PNG, JSON, or one image in each task"
        )
    if not all(_FIELD.fullmatch(source.value) for source in sources):
        return _Obstacle(
            "the URL of the image is not a field of the task's data by itself",
            'value="$image" in the Image tag, and the URL under "image" in each task',
        )
    return None


def _obstacle_of_shape(name: str, control: Control, config: LabelingConfig) -> _Obstacle | None:
    types = {control.type for control in config.controls}
    tag = f"<{control.type}>"
    match control.shape:
        case "brush" | "polygon" | "rectangle" if not (control.has_labels or "Labels" in types):
            return _Obstacle(f"the masks of {tag} have no label", f"<{control.type}Labels>")
        case "brush":
            return _obstacle_of_brush(name, control)
        case "polygon":
            return _obstacle_of_polygon(name, control, types)
        case "rectangle":
            return _obstacle_of_rectangle(name, control, types)
    return _Obstacle(
        f"Label Studio converts no regions of {tag}",
        "<BrushLabels> (Brush labels to COCO, PNG, NumPy) or <PolygonLabels> (COCO, YOLO)",
    )


def _obstacle_of_brush(name: str, control: Control) -> _Obstacle | None:
    if name not in _BRUSH_FORMATS:
        return _Obstacle(
            "the format leaves brush masks out",
            "Brush labels to COCO, or <PolygonLabels> in the config",
        )
    if name == BRUSH_TO_COCO and not control.has_labels:
        return _Obstacle("the format takes masks of <BrushLabels> only", "<BrushLabels>")
    return None


def _obstacle_of_polygon(name: str, control: Control, types: Iterable[str]) -> _Obstacle | None:
    if name == VOC:
        return _Obstacle("the format has boxes only and fails on polygons", "COCO or YOLO")
    if name in _BRUSH_FORMATS:
        return _Obstacle("the format has brush masks only", "COCO or YOLO, or <BrushLabels>")
    if not control.has_labels:
        return _Obstacle(
            "the format takes polygons of <PolygonLabels> only", "<PolygonLabels> beside <Labels>"
        )
    return _obstacle_of_keypoints(types)


def _obstacle_of_rectangle(name: str, control: Control, types: Iterable[str]) -> _Obstacle | None:
    if name in _BRUSH_FORMATS:
        return _Obstacle("the format has brush masks only", "COCO or YOLO, or <BrushLabels>")
    if name == YOLO and "KeyPointLabels" in types:
        return None  # there the converter takes boxes of RectangleLabels only
    if control.has_labels and "Labels" in types:
        return _Obstacle(
            "each box has a label of <RectangleLabels> and a label of <Labels>, and is exported"
            " twice",
            "<Rectangle> instead of <RectangleLabels>",
        )
    if name == COCO and control.has_labels:
        return _obstacle_of_keypoints(types)
    return None


def _obstacle_of_keypoints(types: Iterable[str]) -> _Obstacle | None:
    """Where a config has KeyPointLabels, the converter takes it for keypoints of a body."""
    if "KeyPointLabels" not in types:
        return None
    return _Obstacle(
        "Label Studio takes a config with <KeyPointLabels> for a pose project, and the classes are"
        " lost",
        '<Labels> and <KeyPoint smart="true"> instead of <KeyPointLabels>',
    )


def _sentence(names: list[str], why: _Obstacle) -> str:
    formats = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return (
        f"Label Studio cannot export annotations of this config to {formats}, because"
        f" {why.because}: use {why.use}"
    )
