"""Faults of a labeling config that Label Studio accepts, and in which no click gets a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backend.regions.controls import Control
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig

_PROMPTS = ("keypoint", "rectangle")
_MASKS = ("brush", "bitmask", "polygon", "ellipse")


def faults(xml: str) -> list[str]:
    """What to change in a labeling config, most important first; nothing where clicks can work.

    Raises:
        MalformedRequestError: the text is no labeling config.
    """
    config = LabelingConfig.parse(xml)
    if not config.image_variables:
        return [
            'the config has no Image tag with a control: add <Image name="image" value="$image"/>,'
            ' and toName="image" to the controls'
        ]
    return [*_faults_of_preannotation(config)] + [
        fault
        for image in config.image_variables
        for fault in _faults_of_image(
            image, [control for control in config.controls if image in control.to_names]
        )
    ]


def _faults_of_preannotation(config: LabelingConfig) -> Iterator[str]:
    """What keeps tasks from masks that the config asks for."""
    try:
        wanted = config.preannotation()
        for image in config.image_variables if wanted and wanted.everything else ():
            config.labels_for_all(image, wanted.label if wanted else None)
    except UnanswerableRequestError as error:
        yield f"{error} (model_preannotate, model_preannotate_label)"


def _faults_of_image(image: str, controls: Sequence[Control]) -> Iterator[str]:
    drawn = [one for one in controls if one.shape in _PROMPTS]
    prompts = [one for one in drawn if one.is_smart and not _is_chosen(one)]
    outputs = [one for one in controls if one.shape in _MASKS or _is_chosen(one)]
    if not prompts:
        remedy = (
            f'write smart="true" on {_tag(drawn[0])}'
            if drawn
            else (
                f'add <KeyPointLabels name="point" toName="{image}" smart="true"> with your labels'
            )
        )
        yield f'nothing can be clicked on "{image}": {remedy}'
    if not outputs and not [one for one in controls if one.shape == "rectangle"]:
        yield (
            f'no tag of "{image}" can take masks: add <BrushLabels name="brush"'
            f' toName="{image}" smart="false"> with the labels of the smart tags'
        )
    for output in outputs:
        if output.is_smart and output.shape in _MASKS:
            yield (
                f'write smart="false" on {_tag(output)}: Auto-Detect chooses this tag before the'
                " smart tags"
            )
    yield from _missing_labels(prompts, outputs, controls)


def _missing_labels(
    prompts: Sequence[Control], outputs: Sequence[Control], controls: Sequence[Control]
) -> Iterator[str]:
    """Labels that a click can have and no mask can have."""
    labelled = [output for output in outputs if output.has_labels]
    if not labelled or len(labelled) < len(outputs):
        return  # a tag without labels of its own takes every label
    for prompt in prompts:
        given = [prompt] if prompt.has_labels else [one for one in controls if one.type == "Labels"]
        clickable = {label for one in given for label in one.labels}
        missing = {label.value for label in clickable if not any(o.find(label) for o in labelled)}
        if missing:
            names = ", ".join(f'"{name}"' for name in sorted(missing))
            yield f"add to {_tag(labelled[0])} the labels that {_tag(given[0])} has: {names}"
        if not given:
            yield (
                f"{_tag(prompt)} has no labels and {_tag(labelled[0])} needs a label: add <Labels>"
                f" with the same labels, or make it {prompt.type}Labels"
            )


def _is_chosen(control: Control) -> bool:
    return control.attributes.get("model_output") == "true"


def _tag(control: Control) -> str:
    return f'<{control.type} name="{control.name}">'
