"""Label Studio's smart regions to prompts: what an annotator did, in pixels of the image.

Coordinates are percent of the image in Label Studio, and pixels everywhere else. Only this module
and ``rendering`` convert them. A percentage is of the image after its EXIF orientation is applied,
and does not depend on how the editor has turned the view (``image_rotation``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from backend.regions import region_items
from backend.regions.controls import Label
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig
from backend.regions.region_items import KEYPOINTS, RECTANGLES, Item, Point, Rectangle
from model.types import FOREGROUND, Prompt

# A request with more points or boxes would need gigabytes of memory, or more than the 100 s that
# Label Studio waits. An annotator accepts masks long before.
MAX_REGIONS = 100  # points and boxes together
MAX_POINTS = 50  # on one object


@dataclass(frozen=True)
class Interaction:
    """What the annotator did to point out one object.

    Attributes:
        to_name: the Image tag that shows the image.
        labels: the chosen labels, most often one; none where nobody chose a label.
        reported_size: (H, W) of the image in the editor, pixels; None where the editor does not
            tell.
        points: the clicks.
        rectangle: the box; None for clicks.
        image_rotation: degrees by which the editor's view is turned. Coordinates are not turned.
        item_index: the index of the image in a list; None where the tag shows a single image.
        region_id: Label Studio's id of the first point, or of the rectangle; empty where there is
            none.
        is_tagless: whether the editor named no tag and no label: the prompt of the coming editor.
    """

    to_name: str
    labels: tuple[Label, ...] = ()
    reported_size: tuple[int, int] | None = None
    points: tuple[Point, ...] = ()
    rectangle: Rectangle | None = None
    image_rotation: int = 0
    item_index: int | None = None
    region_id: str = field(default="", compare=False)
    is_tagless: bool = False

    @property
    def click_count(self) -> int:
        """The number of points and rectangles."""
        return len(self.points) + (self.rectangle is not None)

    def prompt(self, original_size: tuple[int, int]) -> Prompt:
        """The prompt in pixels of an image of ``original_size`` (H, W)."""
        box = None
        if self.rectangle is not None:
            box = _box_in_pixels(self.rectangle, original_size)
        points = [_pixel(x, y, original_size) for x, y, _ in self.points]
        return Prompt.from_points(points, [sign for _, _, sign in self.points], box)


def parse(result: Sequence[Any], config: LabelingConfig) -> list[Interaction]:
    """Read the smart regions of one interactive request.

    All keypoints with the same image and labels are one object. Every rectangle is an object of
    its own. The prompt of the coming editor, which names no tag, is one object.

    Args:
        result: ``context["result"]`` of the request.
        config: the labeling config, as the editor shows it for the task.

    Raises:
        MalformedRequestError: an item is not as Label Studio writes it.
        UnanswerableRequestError: no region is a prompt, the config has no such tag, or there are
            more than ``MAX_REGIONS`` points and boxes, or ``MAX_POINTS`` points on one object.
    """
    if is_tagless(result):
        return [_parse_tagless(result, config)]
    clicks: dict[tuple[str, int | None, tuple[Label, ...]], Interaction] = {}
    rectangles: list[Interaction] = []
    for count, items in enumerate(region_items.prompt_regions(result), start=1):
        if count > MAX_REGIONS:
            raise UnanswerableRequestError(
                f"there are more than {MAX_REGIONS} smart points and boxes: accept or delete the"
                " suggestions that are there"
            )
        interaction = _parse_region(items, config)
        if interaction.rectangle is not None:
            rectangles.append(interaction)
        else:
            key = (interaction.to_name, interaction.item_index, interaction.labels)
            first = clicks.get(key)
            points = (first.points if first else ()) + interaction.points
            clicks[key] = replace(first or interaction, points=points)
            _require_few_points(clicks[key])
    for interaction in clicks.values():
        _require_positive(interaction)
    return [*clicks.values(), *rectangles]


def boxes(result: Sequence[Any], config: LabelingConfig) -> list[Interaction]:
    """Read every rectangle of an annotation or of a prediction. Other regions are passed over.

    Args:
        result: the regions.
        config: the labeling config, as the editor shows it for the task.

    Raises:
        MalformedRequestError: an item is not as Label Studio writes it.
        UnanswerableRequestError: the config has no such tag.
    """
    regions = region_items.prompt_regions(result)
    return [_parse_box(items, config) for items in regions if items[0].get("type") in RECTANGLES]


def rectangle_around(
    box: tuple[float, float, float, float], original_size: tuple[int, int]
) -> Rectangle:
    """The rectangle of a box, (x0, y0, x1, y1) in pixels of an image of ``original_size`` (H, W).

    The box (0, 0, W, H) is the whole image.
    """
    height, width = original_size
    x0, y0, x1, y1 = box
    return (
        100 * x0 / width,
        100 * y0 / height,
        100 * (x1 - x0) / width,
        100 * (y1 - y0) / height,
        0.0,
    )


def is_tagless(result: Sequence[Any]) -> bool:
    """Whether a request is a prompt of the coming editor: coordinates, and no name of a tag."""
    return bool(result) and all(
        isinstance(item, dict) and "from_name" not in item and "original_width" not in item
        for item in result
    )


def _parse_tagless(result: Sequence[Any], config: LabelingConfig) -> Interaction:
    """Read the prompt of the coming editor: all points and the rectangle are one object."""
    interaction = Interaction(config.only_image(), is_tagless=True)
    for item in region_items.as_items(result):
        kind, value = region_items.kind_and_value(item)
        if kind in KEYPOINTS:
            point = region_items.point(value, value.get("positive"))
            interaction = replace(interaction, points=(*interaction.points, point))
            _require_few_points(interaction)
        elif interaction.rectangle is None:
            interaction = replace(interaction, rectangle=region_items.rectangle(value))
        else:
            raise UnanswerableRequestError(
                "there are several boxes in one prompt: keep only the box around the object"
            )
    _require_positive(interaction)
    return interaction


def _parse_region(items: Sequence[Item], config: LabelingConfig) -> Interaction:
    """One point or one box: the first of the region's items."""
    item = items[0]
    kind, value = region_items.kind_and_value(item)
    from_name = item.get("from_name")
    if not _has_control(config, from_name):
        raise UnanswerableRequestError(
            f'the labeling config has no control tag "{from_name}", the tag of this region: reload'
            " the page"
        )
    interaction = replace(_unprompted(items, config), reported_size=_size(item))
    if kind in KEYPOINTS:
        return replace(interaction, points=(region_items.point(value, item.get("is_positive")),))
    return replace(interaction, rectangle=region_items.rectangle(value))


def _parse_box(items: Sequence[Item], config: LabelingConfig) -> Interaction:
    """A rectangle that nobody has just drawn. Imported rectangles often have no size."""
    item = items[0]
    _, value = region_items.kind_and_value(item)
    from_name = item.get("from_name")
    if not _has_control(config, from_name):
        raise UnanswerableRequestError(
            f'the labeling config has no control tag "{from_name}", the from_name of a box: rename'
            " the tag, or correct the prediction"
        )
    has_size = item.get("original_height") is not None and item.get("original_width") is not None
    return replace(
        _unprompted(items, config),
        reported_size=_size(item) if has_size else None,
        rectangle=region_items.rectangle(value),
    )


def _unprompted(items: Sequence[Item], config: LabelingConfig) -> Interaction:
    """A region without its points and without its rectangle."""
    item = items[0]
    to_name = item.get("to_name")
    if not isinstance(to_name, str):
        raise MalformedRequestError("every region must have a to_name")
    return Interaction(
        to_name,
        _labels(items, config),
        image_rotation=region_items.count(item, "image_rotation") or 0,
        item_index=region_items.count(item, "item_index"),
        region_id=str(item.get("id") or "")[:100],
    )


def _has_control(config: LabelingConfig, from_name: Any) -> bool:
    return from_name in [control.name for control in config.controls]


def _size(item: Item) -> tuple[int, int]:
    return region_items.size(item, "original_height"), region_items.size(item, "original_width")


def _labels(items: Sequence[Item], config: LabelingConfig) -> tuple[Label, ...]:
    """The labels of a region: the prompt's own, else those of a Labels tag, else of another tag."""
    prompt, *others = items
    for item in (prompt, *sorted(others, key=lambda item: item.get("type") != "labels")):
        kind = str(item.get("type"))
        names = region_items.label_names(item, kind) if kind.endswith("labels") else []
        if names:
            break
    else:
        item, names = prompt, region_items.label_names(prompt, "labels")
    return tuple(dict.fromkeys(config.label(item.get("from_name"), name) for name in names))


def _require_few_points(interaction: Interaction) -> None:
    if len(interaction.points) > MAX_POINTS:
        raise UnanswerableRequestError(
            f"there are more than {MAX_POINTS} points on one object: accept the mask or delete"
            " points"
        )


def _require_positive(interaction: Interaction) -> None:
    signs = [sign for _, _, sign in interaction.points]
    if interaction.rectangle is None and FOREGROUND not in signs:
        raise UnanswerableRequestError(
            "only negative points were placed: place a positive one on the object first"
        )


def _pixel(x: float, y: float, original_size: tuple[int, int]) -> tuple[float, float]:
    """Percent to pixels, inside the image. Pixel i reaches from i to i + 1; i names its centre."""
    height, width = original_size
    return (
        min(max(x / 100 * width - 0.5, 0.0), width - 1.0),
        min(max(y / 100 * height - 0.5, 0.0), height - 1.0),
    )


def _box_in_pixels(
    rectangle: Rectangle, original_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) around a rectangle that may be rotated and may reach over the border."""
    height, width = original_size
    x, y, box_width, box_height, rotation = rectangle
    # The rotation is an angle on the screen, so pixels must be turned, and not percentages.
    right = np.array([box_width * width, 0.0]) / 100
    down = np.array([0.0, box_height * height]) / 100
    angle = np.radians(rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corner = np.array([x * width, y * height]) / 100
    corners = corner + np.stack([0 * right, right, down, right + down]) @ turn.T
    x0, y0 = corners.min(axis=0)
    x1, y1 = corners.max(axis=0)
    left, top = _pixel(100 * x0 / width, 100 * y0 / height, original_size)
    end_x, end_y = _pixel(100 * x1 / width, 100 * y1 / height, original_size)
    return left, top, end_x, end_y
