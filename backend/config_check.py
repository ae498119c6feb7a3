"""What is wrong with a labeling config when it loads in Label Studio and no click brings a mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

_PROMPTS = ("keypoint", "rectangle")
_MASKS = ("brush", "bitmask", "polygon", "ellipse")


@dataclass(frozen=True)
class _Tag:
    """A control tag. ``smart`` is on where nothing is said."""

    type: str
    name: str
    labels: frozenset[str]
    has_dynamic_labels: bool
    is_smart: bool
    is_chosen: bool

    @property
    def shape(self) -> str:
        return self.type.lower().removesuffix("labels")

    @property
    def has_labels(self) -> bool:
        return self.type.endswith("Labels")

    def __str__(self) -> str:
        return f'<{self.type} name="{self.name}">'


def faults(xml: str) -> list[str]:
    """What to mend in a labeling config, most important first; nothing where clicks can work.

    Raises:
        ValueError: it is no XML.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"the labeling config is no XML: {error}") from error
    images = [tag for tag in root.iter("Image") if tag.get("value") or tag.get("valueList")]
    if not images:
        return ['it has no Image: add <Image name="image" value="$image"/>']
    return [
        fault
        for image in images
        for fault in _faults_of_image(image.get("name", ""), _tags(root, image.get("name", "")))
    ]


def _faults_of_image(image: str, tags: list[_Tag]) -> Iterator[str]:
    prompts = [tag for tag in tags if tag.shape in _PROMPTS and tag.is_smart and not tag.is_chosen]
    outputs = [tag for tag in tags if tag.shape in _MASKS or tag.is_chosen]
    if not prompts:
        dull = [tag for tag in tags if tag.shape in _PROMPTS]
        mend = (
            f'write smart="true" on {dull[0]}'
            if dull
            else (
                f'add <KeyPointLabels name="point" toName="{image}" smart="true"> with your labels'
            )
        )
        yield f'nothing can be clicked on "{image}": {mend}'
    if not outputs and not [tag for tag in tags if tag.shape == "rectangle"]:
        yield (
            f'there is nothing to put masks in on "{image}": add <BrushLabels name="brush"'
            f' toName="{image}" smart="false"> with the labels of the smart tags'
        )
    for output in outputs:
        if output.is_smart and output.shape in _MASKS:
            yield (
                f'write smart="false" on {output}: Auto-Detect would choose it instead of the'
                " smart tags"
            )
    yield from _missing_labels(prompts, outputs, tags)


def _missing_labels(prompts: list[_Tag], outputs: list[_Tag], tags: list[_Tag]) -> Iterator[str]:
    """Labels that can be clicked with and that no mask could carry."""
    labelled = [output for output in outputs if output.has_labels]
    if not labelled or len(labelled) < len(outputs):
        return  # a Brush or the like takes every label
    if any(output.has_dynamic_labels for output in labelled):
        return
    carried = frozenset().union(*(output.labels for output in labelled))
    for prompt in prompts:
        given = [prompt] if prompt.has_labels else [tag for tag in tags if tag.type == "Labels"]
        clickable = frozenset().union(*(tag.labels for tag in given))
        missing = sorted(clickable - carried)
        if missing:
            names = ", ".join(f'"{label}"' for label in missing)
            yield f"add to {labelled[0]} what {given[0]} has: {names}"
        if not given:
            yield f"{prompt} has no labels and {labelled[0]} needs one: make it {prompt.type}Labels"


def _tags(root: ElementTree.Element, image: str) -> list[_Tag]:
    """The control tags of an image."""
    return [
        _Tag(
            type=tag.tag,
            name=tag.get("name", ""),
            labels=frozenset(
                label.get("alias") or label.get("value") or "" for label in tag.iter("Label")
            ),
            has_dynamic_labels=tag.get("value", "").startswith("$"),
            is_smart=tag.get("smart", "true").lower() != "false",
            is_chosen=tag.get("model_output") == "true",
        )
        for tag in root.iter()
        if image in [name.strip() for name in tag.get("toName", "").split(",")]
    ]
