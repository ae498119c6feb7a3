"""Label Studio's smart regions to prompts: what an annotator did, in pixels of the image.

Coordinates are percent of the image in Label Studio and pixels everywhere else; here and in
``rendering`` one becomes the other. They are percent of the image as its file has it, EXIF
orientation applied, however the editor has turned the view (``image_rotation``).

Brush RLE is Label Studio's own format (thi.ng rle-pack over height x width x 4 channels), not
COCO's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backend.regions.controls import Label
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig, whole_number
from model.types import BACKGROUND, FOREGROUND, Prompt

_KEYPOINTS = ("keypointlabels", "keypoint")
_RECTANGLES = ("rectanglelabels", "rectangle")

Percents = tuple[float, ...]


@dataclass(frozen=True)
class Interaction:
    """What the annotator did to point out one object.

    Attributes:
        to_name: the image tag it was done on.
        labels: the labels that were chosen, most often one; none where the tool has none.
        reported_size: (H, W) of the image in the editor, pixels; None where the editor does not
            tell.
        points: (x, y) in percent of the image, with 1 for on the object and 0 for not on it.
        rectangle: (x, y, width, height, rotation) in percent and degrees clockwise around the
            top-left corner; None for clicks.
        image_rotation: degrees by which the editor's view is turned. Coordinates are not.
        item_index: which image of a list; None where the tag shows a single one.
        is_tagless: whether the editor named no tag and no label: the prompt of the coming editor.
    """

    to_name: str
    labels: tuple[Label, ...] = ()
    reported_size: tuple[int, int] | None = None
    points: tuple[tuple[float, float, int], ...] = ()
    rectangle: Percents | None = None
    image_rotation: int = 0
    item_index: int | None = None
    is_tagless: bool = False

    def prompt(self, original_size: tuple[int, int]) -> Prompt:
        """The prompt in pixels of an image of ``original_size`` (H, W)."""
        box = None
        if self.rectangle is not None:
            box = _box_in_pixels(self.rectangle, original_size)
        points = [_pixel(x, y, original_size) for x, y, _ in self.points]
        return Prompt.from_points(points, [sign for _, _, sign in self.points], box)


def parse(result: Sequence[Any], config: LabelingConfig) -> list[Interaction]:
    """Read the smart regions of one interactive request.

    All keypoints of one image and label are one object; every rectangle is an object of its own.
    The prompt of the coming editor, which names no tag, is one object.

    Args:
        result: ``context["result"]`` of the request.

    Raises:
        MalformedRequestError: an item is not as Label Studio writes it.
        UnanswerableRequestError: an item is of a kind or of a tag that cannot be answered.
    """
    if is_tagless(result):
        return [_parse_tagless(result, config)]
    clicks: dict[tuple[str, int | None, tuple[Label, ...]], Interaction] = {}
    rectangles: list[Interaction] = []
    for items in _prompt_regions(result):
        interaction = _parse_region(items, config)
        if interaction.rectangle is not None:
            rectangles.append(interaction)
            continue
        key = (interaction.to_name, interaction.item_index, interaction.labels)
        before = clicks[key].points if key in clicks else ()
        clicks[key] = replace(interaction, points=before + interaction.points)
    for interaction in clicks.values():
        _require_positive(interaction)
    return [*clicks.values(), *rectangles]


def is_tagless(result: Sequence[Any]) -> bool:
    """Whether a request is one of the coming editor: coordinates, and no word of any tag."""
    return bool(result) and all(
        isinstance(item, dict) and "from_name" not in item and "original_width" not in item
        for item in result
    )


def _parse_tagless(result: Sequence[Any], config: LabelingConfig) -> Interaction:
    """Read the prompt of the coming editor: all points and the rectangle are one object.

    Raises:
        MalformedRequestError: an item has no coordinates.
        UnanswerableRequestError: an item is of a kind that cannot be answered, or there are several
            rectangles.
    """
    interaction = Interaction(config.only_image(), is_tagless=True)
    for item in _items(result):
        kind, value = _kind_and_value(item)
        if kind in _KEYPOINTS:
            point = _point(value, value.get("positive"))
            interaction = replace(interaction, points=(*interaction.points, point))
        elif interaction.rectangle is None:
            interaction = replace(interaction, rectangle=_rectangle(value))
        else:
            raise UnanswerableRequestError(
                "there are several boxes in one prompt: leave the one around the object"
            )
    _require_positive(interaction)
    return interaction


def _items(result: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
    if not all(isinstance(item, dict) for item in result):
        raise MalformedRequestError("every item of context.result must be an object")
    return result


def _require_positive(interaction: Interaction) -> None:
    signs = [sign for _, _, sign in interaction.points]
    if interaction.rectangle is None and FOREGROUND not in signs:
        raise UnanswerableRequestError(
            "only negative points were placed: place a positive one on the object first"
        )


def _prompt_regions(result: Sequence[Any]) -> list[list[Mapping[str, Any]]]:
    """The items of each region that is a prompt, the prompt first.

    A region comes as several items of one id: what was drawn, its label where the label stands in
    a Labels tag, and each answer that the annotator has given for the region (choices, a text, a
    rating and so on).
    """
    items_of: dict[str | int, list[Mapping[str, Any]]] = {}
    for index, item in enumerate(_items(result)):
        region_id = item.get("id")
        items_of.setdefault(region_id if isinstance(region_id, str) else index, []).append(item)
    regions = []
    for items in items_of.values():
        others = [item for item in items if not _is_prompt(item)]
        prompts = [item for item in items if _is_prompt(item)]
        at_places = {_place(item): item for item in reversed(prompts)}
        regions += [[prompt, *others] for prompt in reversed(at_places.values())]
    return regions or list(items_of.values())


def _place(item: Mapping[str, Any]) -> str:
    """Where a prompt is: a tag with labels may have its own item for the same point."""
    value = item["value"] if isinstance(item.get("value"), dict) else {}
    return repr((value.get("x"), value.get("y")))


def _is_prompt(item: Mapping[str, Any]) -> bool:
    """Whether an item is what was drawn: a box may have the label of a KeyPointLabels tag."""
    kind, value = item.get("type"), item.get("value")
    is_box = isinstance(value, dict) and "height" in value
    return kind in _RECTANGLES or (kind in _KEYPOINTS and not is_box)


def _parse_region(items: Sequence[Mapping[str, Any]], config: LabelingConfig) -> Interaction:
    item = items[0]
    kind, value = _kind_and_value(item)
    from_name, to_name = item.get("from_name"), item.get("to_name")
    if from_name not in [control.name for control in config.controls]:
        raise UnanswerableRequestError(
            f'the labeling config has no control tag "{from_name}", which the region came from:'
            " reload the page"
        )
    if not isinstance(to_name, str):
        raise MalformedRequestError("every item of context.result must have a to_name")
    interaction = Interaction(
        to_name,
        _labels(items, config),
        (_size(item, "original_height"), _size(item, "original_width")),
        image_rotation=_count(item, "image_rotation") or 0,
        item_index=_count(item, "item_index"),
    )
    if kind in _KEYPOINTS:
        return replace(interaction, points=(_point(value, item.get("is_positive")),))
    return replace(interaction, rectangle=_rectangle(value))


def _kind_and_value(item: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    kind, value = item.get("type"), item.get("value")
    if not isinstance(kind, str) or not isinstance(value, dict):
        raise MalformedRequestError("every item of context.result must have a type and a value")
    if kind not in _KEYPOINTS + _RECTANGLES:
        raise UnanswerableRequestError(
            f'a smart region of type "{kind}" cannot be answered: use a smart keypoint or a smart'
            ' rectangle, and write smart="false" on the other tags'
        )
    return kind, value


def _point(value: Mapping[str, Any], positive: Any) -> tuple[float, float, int]:
    """A click; one without a sign is positive."""
    sign = BACKGROUND if positive is False else FOREGROUND
    return _number(value, "x"), _number(value, "y"), sign


def _rectangle(value: Mapping[str, Any]) -> Percents:
    rotation = _number(value, "rotation") if value.get("rotation") is not None else 0.0
    x, y, width, height = (_number(value, name) for name in ("x", "y", "width", "height"))
    return x, y, width, height, rotation


def _labels(items: Sequence[Mapping[str, Any]], config: LabelingConfig) -> tuple[Label, ...]:
    """The labels of a region: its own, else those of a Labels tag, else those of any other tag."""
    prompt, *others = items
    for item in (prompt, *sorted(others, key=lambda item: item.get("type") != "labels")):
        kind = item.get("type")
        names = _names(item, kind) if isinstance(kind, str) and kind.endswith("labels") else []
        if names:
            break
    else:
        item, names = prompt, _names(prompt, "labels")
    return tuple(dict.fromkeys(config.label(item.get("from_name"), name) for name in names))


def _names(item: Mapping[str, Any], kind: str) -> list[str]:
    value = item.get("value")
    names = value.get(kind) if isinstance(value, dict) else None
    names = [] if names is None else names
    if not isinstance(names, list) or not all(isinstance(name, str | None) for name in names):
        raise MalformedRequestError("the labels of a region must be a list of texts")
    return [name for name in names if name]  # a null is the label that allowEmpty adds


def _number(value: Mapping[str, Any], name: str) -> float:
    number = value.get(name)
    # bool is an int to Python, and JSON readers let NaN and Infinity through
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < 1e6:
        raise MalformedRequestError(f"{name} of a region must be a number, percent of the image")
    return float(number)


def _size(item: Mapping[str, Any], name: str) -> int:
    size = whole_number(item.get(name))
    if size is None or size < 1:
        raise MalformedRequestError(f"{name} of a region must be a whole number of pixels")
    return size


def _count(item: Mapping[str, Any], name: str) -> int | None:
    if item.get(name) is None:
        return None
    count = whole_number(item[name])
    if count is None or count < 0:
        raise MalformedRequestError(f"{name} of a region must be a whole number, 0 or more")
    return count


def _pixel(x: float, y: float, original_size: tuple[int, int]) -> tuple[float, float]:
    """Percent to pixels, inside the image. Pixel i reaches from i to i + 1, its centre names it."""
    height, width = original_size
    return (
        min(max(x / 100 * width - 0.5, 0.0), width - 1.0),
        min(max(y / 100 * height - 0.5, 0.0), height - 1.0),
    )


def _box_in_pixels(
    rectangle: Percents, original_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) around a rectangle that may be rotated and may reach over the border."""
    height, width = original_size
    x, y, box_width, box_height, rotation = rectangle
    # The rotation is an angle on the screen: it must be applied in pixels, not in percent.
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
