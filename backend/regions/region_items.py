"""The items of an interactive request: which items are prompts, and what their fields hold.

The readers of fields raise MalformedRequestError where a field is not as Label Studio writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import whole_number
from model.types import BACKGROUND, FOREGROUND

KEYPOINTS = ("keypointlabels", "keypoint")
RECTANGLES = ("rectanglelabels", "rectangle")

Item = Mapping[str, Any]
# (x, y) in percent of the image, and 1 (on the object) or 0 (not on the object).
Point = tuple[float, float, int]
# (x, y, width, height) in percent of the image, and the rotation in degrees clockwise around the
# top-left corner.
Rectangle = tuple[float, float, float, float, float]


def as_items(result: Sequence[Any]) -> Sequence[Item]:
    """``context["result"]``, once every item is known to be an object."""
    if not all(isinstance(item, dict) for item in result):
        raise MalformedRequestError("every item of context.result must be an object")
    return result


def prompt_regions(result: Sequence[Any]) -> list[list[Item]]:
    """The items of each region that is a prompt, the prompt first.

    The editor sends a region as several items with the same id: the point or the box, its label
    where a Labels tag has the labels, and each answer of the annotator for the region (choices,
    texts, ratings and others). Where no region is a prompt, the result is every region.
    """
    items_of: dict[tuple[str, object], list[Item]] = {}
    for index, item in enumerate(as_items(result)):
        region_id = item.get("id")
        has_id = isinstance(region_id, str | int)
        items_of.setdefault(("id", region_id) if has_id else ("", index), []).append(item)
    regions = []
    for items in items_of.values():
        others = [item for item in items if not _is_prompt(item)]
        prompts = [item for item in items if _is_prompt(item)]
        at_places = {_place(item): item for item in reversed(prompts)}
        regions += [[prompt, *others] for prompt in reversed(at_places.values())]
    return regions or list(items_of.values())


def _is_prompt(item: Item) -> bool:
    """Whether an item is a point or a box. An item of a box may be the label of KeyPointLabels."""
    kind, value = item.get("type"), item.get("value")
    has_height = isinstance(value, dict) and "height" in value
    return kind in RECTANGLES or (kind in KEYPOINTS and not has_height)


def _place(item: Item) -> str:
    """Where a prompt is. KeyPoint and KeyPointLabels may each have an item for one point."""
    value = item["value"] if isinstance(item.get("value"), dict) else {}
    return repr((value.get("x"), value.get("y")))


def kind_and_value(item: Item) -> tuple[str, Item]:
    """The type and the value of a prompt.

    Raises:
        UnanswerableRequestError: the item is no point and no box.
    """
    kind, value = item.get("type"), item.get("value")
    if not isinstance(kind, str) or not isinstance(value, dict):
        raise MalformedRequestError("every item of context.result must have a type and a value")
    if kind not in KEYPOINTS + RECTANGLES:
        raise UnanswerableRequestError(
            f'a smart region of type "{kind}" cannot be answered: use a smart keypoint or a smart'
            ' rectangle, and write smart="false" on the other tags'
        )
    return kind, value


def point(value: Item, positive: Any) -> Point:
    """A click. A click without a sign is positive."""
    sign = BACKGROUND if positive is False else FOREGROUND
    return number(value, "x"), number(value, "y"), sign


def rectangle(value: Item) -> Rectangle:
    """A box."""
    rotation = number(value, "rotation") if value.get("rotation") is not None else 0.0
    x, y, width, height = (number(value, name) for name in ("x", "y", "width", "height"))
    return x, y, width, height, rotation


def label_names(item: Item, kind: str) -> list[str]:
    """The labels in an item's value under ``kind``: values or aliases."""
    value = item.get("value")
    names = value.get(kind) if isinstance(value, dict) else None
    names = [] if names is None else names
    if not isinstance(names, list) or not all(isinstance(name, str | None) for name in names):
        raise MalformedRequestError("the labels of a region must be a list of texts")
    return [name for name in names if name]  # null is the label that allowEmpty adds


def number(value: Item, name: str) -> float:
    """A coordinate or a length, percent of the image; or an angle."""
    found = value.get(name)
    # To Python, a bool is an int. Readers of JSON accept NaN and Infinity.
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e6:
        raise MalformedRequestError(f"{name} of a region must be a number, percent of the image")
    return float(found)


def size(item: Item, name: str) -> int:
    """A width or a height of the image, pixels."""
    found = whole_number(item.get(name))
    if found is None or found < 1:
        raise MalformedRequestError(f"{name} of a region must be a whole number of pixels")
    return found


def count(item: Item, name: str) -> int | None:
    """A whole number, 0 or more; None where the item has none."""
    if item.get(name) is None:
        return None
    found = whole_number(item[name])
    if found is None or found < 0:
        raise MalformedRequestError(f"{name} of a region must be a whole number, 0 or more")
    return found
