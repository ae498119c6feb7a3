"""What a project's labeling config says: which images there are, and which tag takes the masks.

A control tag may carry settings of this backend, as attributes that Label Studio passes over:
``model_output``, ``model_tolerance``, ``model_max_vertices`` and ``model_crop_refinement``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config
from lxml import etree

from backend.images.image_ref import ImageRef
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError

# Where masks go when several tags could take them, best first. Rectangles stand last: they tell
# least of a mask, and most often they are there to prompt with.
_OUTPUTS = ("brush", "bitmask", "polygon", "ellipse", "rectangle")

_VARIABLE = re.compile(r"\$([\w.\[\]]+)")


@dataclass(frozen=True)
class Control:
    """A control tag of the labeling config, such as BrushLabels.

    Attributes:
        type: the tag's name, as the config writes it.
        to_names: the object tags it belongs to.
        attributes: everything that stands in the tag.
    """

    name: str
    type: str
    to_names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    has_dynamic_labels: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> str:
        """What its regions are, without labels: "brush" for BrushLabels and for Brush."""
        return self.type.lower().removesuffix("labels")

    @property
    def has_labels(self) -> bool:
        """Whether its regions carry their label themselves."""
        return self.type.endswith("Labels")

    @property
    def is_smart(self) -> bool:
        """Whether it prompts while Auto-Annotation is on, as it does where nothing is said."""
        return self.attributes.get("smart", "true").lower() != "false"

    def offers(self, label: str | None) -> bool:
        """Whether a region of this control may carry the label."""
        return label in self.labels or (self.has_dynamic_labels and label is not None)


@dataclass(frozen=True)
class Output:
    """Where the masks of an interaction go, and how.

    Attributes:
        control: the tag that takes them.
        labels_control: the Labels tag beside it that gives the label; None where ``control`` has
            labels of its own or no tag has this label.
        tolerance: how far a polygon may run beside the mask's edge, pixels.
        max_vertices: of one polygon.
        crop_refinement: whether small objects are predicted again in a crop, which takes another
            encode.
    """

    control: Control
    labels_control: Control | None
    tolerance: float
    max_vertices: int
    crop_refinement: bool


# Masks of prompts that name no tag: bitmasks, whatever the labeling config has.
TAGLESS_OUTPUT = Output(Control("", "Bitmask", ()), None, 1.0, 500, crop_refinement=True)


@dataclass(frozen=True)
class ImageSource:
    """Where an Image tag finds its images: "$name" of the task's data; one, or a list."""

    value: str
    is_list: bool


@dataclass(frozen=True)
class LabelingConfig:
    """The parts of a labeling config that matter here.

    Attributes:
        controls: every control tag.
        image_variables: the Image tags that a control points to.
    """

    controls: tuple[Control, ...]
    image_variables: Mapping[str, ImageSource]

    @classmethod
    def parse(cls, xml: str) -> LabelingConfig:
        """Read a labeling config.

        Raises:
            MalformedRequestError: it is no labeling config.
        """
        try:
            parsed = parse_config(xml)
            attributes = _attributes(xml)
        except Exception as error:  # the parsers raise whatever a wrong config leads them to
            raise MalformedRequestError(
                f"label_config cannot be read as a labeling config ({type(error).__name__})"
            ) from error
        controls = tuple(
            Control(
                name=name,
                type=tag["type"],
                to_names=tuple(to_name.strip() for to_name in tag["to_name"]),
                labels=tuple(tag["labels"]),
                has_dynamic_labels=bool(tag.get("dynamic_labels")),
                attributes=attributes.get((tag["type"], name), {}),
            )
            for name, tag in parsed.items()
        )
        pointed_to = {to_name for control in controls for to_name in control.to_names}
        return cls(controls, _images(attributes, pointed_to))

    def image_refs(self, task: Mapping[str, Any]) -> Iterator[ImageRef]:
        """Every image that a task shows.

        Raises:
            UnanswerableRequestError: after the last image, where the task has none for a tag.
        """
        errors = []
        for to_name in self.image_variables:
            try:
                urls = self._image_urls(task, to_name)
            except UnanswerableRequestError as error:
                errors.append(error)
            else:
                yield from (_ref(task, url) for url in urls)
        if errors:
            raise errors[0]

    def image_ref(self, task: Mapping[str, Any], to_name: str, item_index: int = 0) -> ImageRef:
        """The image that a tag shows, of a list the image at ``item_index``.

        Raises:
            UnanswerableRequestError: the config or the task does not name one.
        """
        urls = self._image_urls(task, to_name)
        if item_index >= len(urls):
            raise UnanswerableRequestError(
                f'the region is on image {item_index + 1} of the tag "{to_name}", and the task has'
                f" {len(urls)}: reload the page"
            )
        return _ref(task, urls[item_index])

    def only_image(self) -> str:
        """The one Image tag, for prompts that do not say which they were made on.

        Raises:
            UnanswerableRequestError: there is none, or there are several.
        """
        if len(self.image_variables) != 1:
            raise UnanswerableRequestError(
                "the prompt does not say which image it is on, and the labeling config has"
                f" {len(self.image_variables)} Image tags that a control points to: leave one"
            )
        return next(iter(self.image_variables))

    def output_for(self, to_name: str, label: str | None) -> Output:
        """The tag that takes the masks of an image and a label.

        Brush before bitmask, polygon, ellipse and rectangle; a smart rectangle, which prompts,
        only where there is nothing else. ``model_output="true"`` chooses a tag, "false" rules it
        out.

        Raises:
            UnanswerableRequestError: there is none, or its attributes cannot be used.
        """
        candidates = self.outputs(to_name)
        if not candidates:
            raise UnanswerableRequestError(
                f'the labeling config has no tag for the image "{to_name}" to put masks in: add'
                f' <BrushLabels name="brush" toName="{to_name}" smart="false"> with the same'
                " labels as the smart tools (or BitmaskLabels, PolygonLabels, EllipseLabels,"
                " RectangleLabels)"
            )
        for control in candidates:
            if control.has_labels and not control.offers(label):
                continue
            return Output(
                control,
                None if control.has_labels else self._labels_control_for(to_name, label),
                _number(control, "model_tolerance", default=1.0, low=0.0, high=100.0),
                int(_number(control, "model_max_vertices", default=500, low=4, high=100_000)),
                _refines(control),
            )
        names = ", ".join(f'{control.type} "{control.name}"' for control in candidates)
        if label is None:
            raise UnanswerableRequestError(
                f"no label was chosen, and {names} needs one: choose a label first"
            )
        raise UnanswerableRequestError(
            f'{names} has no label "{label}": add it there, as the smart tools have it'
        )

    def _image_urls(self, task: Mapping[str, Any], to_name: str) -> list[str]:
        source = self.image_variables.get(to_name)
        if source is None:
            raise UnanswerableRequestError(
                f'the labeling config has no Image tag "{to_name}" with a value that a control'
                " points to"
            )
        found = _resolved(source.value, task.get("data"))
        urls = found if source.is_list else [found]
        if (
            not isinstance(urls, list)
            or not urls
            or not all(isinstance(url, str) and url for url in urls)
        ):
            raise UnanswerableRequestError(
                f'the task\'s data has no image URL under "{source.value.lstrip("$")}", which the'
                f' Image tag "{to_name}" asks for'
            )
        return urls

    def outputs(self, to_name: str) -> list[Control]:
        """The tags that may take the masks of an image, best first.

        Raises:
            UnanswerableRequestError: an attribute of a tag cannot be used.
        """
        chosen, possible = [], []
        for control in self.controls:
            if to_name in control.to_names and control.shape in _OUTPUTS:
                wanted = _flag(control, "model_output")
                if wanted:
                    chosen.append(control)
                elif wanted is None:
                    possible.append(control)
        candidates = sorted(chosen or possible, key=lambda control: _OUTPUTS.index(control.shape))
        if chosen:
            return candidates
        return [c for c in candidates if c.shape != "rectangle" or not c.is_smart] or candidates

    def _labels_control_for(self, to_name: str, label: str | None) -> Control | None:
        for control in self.controls:
            if control.type == "Labels" and to_name in control.to_names and control.offers(label):
                return control
        return None


def whole_number(value: Any) -> int | None:
    """An id as Label Studio writes it; None for anything else, True and False too."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _ref(task: Mapping[str, Any], url: str) -> ImageRef:
    return ImageRef(url, whole_number(task.get("id")))


def _attributes(xml: str) -> dict[tuple[str, str], dict[str, str]]:
    """The attributes of every tag that has a name, by tag and name."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return {
        (str(tag.tag), tag.attrib["name"]): dict(tag.attrib)
        for tag in etree.fromstring(xml, parser).iter()
        if "name" in tag.attrib
    }


def _images(
    attributes: Mapping[tuple[str, str], Mapping[str, str]], pointed_to: set[str]
) -> dict[str, ImageSource]:
    images = {}
    for (tag, name), given in attributes.items():
        if tag != "Image" or name not in pointed_to:
            continue
        for attribute, is_list in (("valueList", True), ("value", False)):
            if given.get(attribute):
                images[name] = ImageSource(given[attribute], is_list)
                break
    return images


def _resolved(value: str, data: Any) -> Any:
    """What a value such as "$image", "$photos[0].url" or "https://host/$file" stands for."""
    whole = _VARIABLE.fullmatch(value)
    if whole:
        return _looked_up(data, whole[1])
    return _VARIABLE.sub(lambda match: str(_looked_up(data, match[1])), value)


def _looked_up(data: Any, path: str) -> Any:
    """The field of the task's data behind a path; None where there is none."""
    if isinstance(data, dict) and path in data:
        return data[path]
    for step in path.replace("[", ".").replace("]", "").split("."):
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and step.isdecimal() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


def _flag(control: Control, name: str) -> bool | None:
    """An attribute that is "true" or "false"; None where it is not there."""
    text = control.attributes.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise _unusable(control, name, '"true" or "false"')
    return text == "true"


def _refines(control: Control) -> bool:
    """The attribute model_crop_refinement. Releases before 2 call it model_second_look."""
    refines = _flag(control, "model_crop_refinement")
    if refines is None:
        refines = _flag(control, "model_second_look")
    return refines is not False


def _number(control: Control, name: str, *, default: float, low: float, high: float) -> float:
    text = control.attributes.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise _unusable(control, name, f"a number from {low:g} to {high:g}")
    return number


def _unusable(control: Control, name: str, expected: str) -> UnanswerableRequestError:
    return UnanswerableRequestError(
        f'{name} of {control.type} "{control.name}" is "{control.attributes[name]}" in the'
        f" labeling config, and must be {expected}"
    )
