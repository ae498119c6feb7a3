"""The control and image tags of a labeling config, with the labels that a task may bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from backend.regions.task_data import resolved

_NO_CONTROLS = ("Filter",)  # a tag with name and toName that makes no regions


@dataclass(frozen=True)
class Label:
    """A label of a control tag.

    Attributes:
        value: what the annotator sees.
        alias: what regions have in the place of the value, where the label has an alias.
    """

    value: str
    alias: str | None = None

    @property
    def name(self) -> str:
        """What regions have."""
        return self.alias or self.value

    def is_same(self, other: Label) -> bool:
        """Whether two tags mean the same label: one of the tags may leave the alias out."""
        return bool({self.value, self.name} & {other.value, other.name})


@dataclass(frozen=True)
class Control:
    """A control tag of the labeling config, such as BrushLabels.

    Attributes:
        type: the tag's name, as the config writes it.
        to_names: the object tags that the control belongs to.
        takes_any_label: whether the labels come from the task, and the task is not known here.
        attributes: everything that stands in the tag.
    """

    name: str
    type: str
    to_names: tuple[str, ...]
    labels: tuple[Label, ...] = ()
    takes_any_label: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> str:
        """What its regions are, without labels: "brush" for BrushLabels and for Brush."""
        return self.type.lower().removesuffix("labels")

    @property
    def has_labels(self) -> bool:
        """Whether its regions carry their label themselves."""
        return self.type.lower().endswith("labels")

    @property
    def is_smart(self) -> bool:
        """Whether it prompts while Auto-Annotation is on: the default of Label Studio."""
        return self.attributes.get("smart", "true").lower() != "false"

    def label_called(self, name: str) -> Label | None:
        """The label with this value or alias; None where the control has none."""
        return next((label for label in self.labels if name in (label.value, label.alias)), None)

    def find(self, label: Label) -> Label | None:
        """The label of this control that means the same; None where the control has none."""
        same = [own for own in self.labels if own.is_same(label)]
        best = sorted(same, key=lambda own: own.name != label.name)
        return best[0] if best else label if self.takes_any_label else None


@dataclass(frozen=True)
class ImageSource:
    """Where an Image tag finds its images: "$name" of the task's data.

    Attributes:
        is_list: whether the tag shows every image of a list (valueList).
    """

    value: str
    is_list: bool

    def urls(self, data: Any) -> list[str]:
        """The URLs of the images, as the task has them; none where the task has no such field.

        Like the editor, it takes a text for a list of one, and of a list under ``value`` the first
        image. An entry of a list that is no URL is an empty text: the others keep their places.
        """
        found = resolved(self.value, data)
        urls = found if isinstance(found, list) else [found]
        urls = urls if self.is_list else urls[:1]
        urls = [url if isinstance(url, str) else "" for url in urls]
        return urls if any(urls) else []


def read_controls(tree: etree._Element, data: Any = None) -> tuple[Control, ...]:
    """Every control tag, in the order of the config.

    Args:
        data: the task's data, for labels that come from the task; None where there is no task.
    """
    return tuple(_control(tag, data) for tag in tree.iter() if _is_control(tag))


def read_images(tree: etree._Element, controls: tuple[Control, ...]) -> dict[str, ImageSource]:
    """The Image tags that a control points to, by name."""
    pointed_to = {to_name for control in controls for to_name in control.to_names}
    images = {}
    for tag in tree.iter("Image"):
        value_list, value = tag.get("valueList"), tag.get("value")
        if tag.get("name") in pointed_to and (value_list or value):
            images[tag.get("name")] = ImageSource(value_list or value, bool(value_list))
    return images


def _is_control(tag: etree._Element) -> bool:
    return bool(tag.get("name") and tag.get("toName") and tag.tag not in _NO_CONTROLS)


def _control(tag: etree._Element, data: Any) -> Control:
    labels = list(dict.fromkeys(_written_labels(tag)))
    takes_any_label = any(label.value.startswith("$") for label in labels)
    source = tag.get("value", "")
    if source.startswith("$"):
        found = resolved(source, data)
        labels += list(_labels_of_task(found))
        takes_any_label = takes_any_label or not isinstance(found, list)
    return Control(
        name=tag.get("name"),
        type=tag.tag,
        to_names=tuple(name for name in map(str.strip, tag.get("toName").split(",")) if name),
        labels=tuple(labels),
        takes_any_label=takes_any_label or bool(tag.get("apiUrl")),
        attributes=dict(tag.attrib),
    )


def _written_labels(control: etree._Element) -> Iterator[Label]:
    """The labels that stand in the control, other tags in between or not."""
    for tag in control.iter("Label"):
        inside = next((parent for parent in tag.iterancestors() if _is_control(parent)), None)
        alias = tag.get("alias") or None
        value = tag.get("value") or tag.get("valueList") or alias
        if inside is control and value:
            yield Label(value, alias)


def _labels_of_task(found: Any) -> Iterator[Label]:
    """The labels of a list in the task: objects with the attributes of Label tags, or texts."""
    for item in found if isinstance(found, list) else []:
        given = item if isinstance(item, dict) else {"value": item}
        value, alias = given.get("value"), given.get("alias")
        if isinstance(value, str) and value:
            yield Label(value, alias if isinstance(alias, str) and alias else None)
