"""Which tag of a labeling config takes the masks, with which labels and settings.

A control tag may have settings of this backend, as attributes that Label Studio passes over:
``model_output``, ``model_tolerance``, ``model_max_vertices``, ``model_crop_refinement``,
``model_preannotate`` and ``model_preannotate_label``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.regions.controls import Control, Label
from backend.regions.errors import UnanswerableRequestError

# Where masks go when several tags could take them, best first. Rectangles come last: a box tells
# least of a mask, and most rectangle tags are there to prompt with.
_SHAPES = ("brush", "bitmask", "polygon", "ellipse", "rectangle")


@dataclass(frozen=True)
class Output:
    """Where the masks of an interaction go, and how.

    Attributes:
        control: the tag that takes the masks.
        labels_control: the Labels tag that has the labels; None where ``control`` has labels of
            its own, or where no Labels tag has these labels.
        labels: the labels of the masks, as the tag that has them writes them.
        tolerance: how far a polygon may run beside the mask's edge, pixels.
        max_vertices: of one polygon.
        crop_refinement: whether small objects are predicted again in a crop, which takes another
            encode.
    """

    control: Control
    labels_control: Control | None
    labels: tuple[str, ...]
    tolerance: float
    max_vertices: int
    crop_refinement: bool


# Masks of prompts that name no tag: bitmasks, whatever the labeling config has.
TAGLESS_OUTPUT = Output(Control("", "Bitmask", ()), None, (), 1.0, 500, crop_refinement=True)


def candidates(controls: Sequence[Control], to_name: str) -> list[Control]:
    """The tags that may take the masks of an image, best first.

    Brush before bitmask, polygon, ellipse and rectangle. A smart rectangle is there to prompt
    with, and is a candidate only where there is no other. ``model_output="true"`` chooses a tag,
    ``"false"`` rules the tag out.

    Raises:
        UnanswerableRequestError: model_output has a value that is not allowed.
    """
    chosen, possible = [], []
    for control in controls:
        if to_name in control.to_names and control.shape in _SHAPES:
            wanted = _flag(control, "model_output")
            if wanted:
                chosen.append(control)
            elif wanted is None:
                possible.append(control)
    found = sorted(chosen or possible, key=lambda control: _SHAPES.index(control.shape))
    if chosen:
        return found
    return [c for c in found if c.shape != "rectangle" or not c.is_smart] or found


def choose(controls: Sequence[Control], to_name: str, labels: Sequence[Label]) -> Output:
    """The tag that takes the masks of an image with these labels: the best that has them all.

    Without labels, only a tag without labels of its own takes a mask, or any tag where a tag of
    the image allows regions without a label (``allowEmpty="true"``).

    Raises:
        UnanswerableRequestError: there is no such tag, or its attributes have values that are not
            allowed.
    """
    of_image = [control for control in controls if to_name in control.to_names]
    found = candidates(of_image, to_name)
    if not found:
        raise UnanswerableRequestError(
            f'the labeling config has no tag for the image "{to_name}" to put masks in: add'
            f' <BrushLabels name="brush" toName="{to_name}" smart="false"> with the same'
            " labels as the smart tools (or BitmaskLabels, PolygonLabels, EllipseLabels,"
            " RectangleLabels)"
        )
    for control in found:
        if not control.has_labels:
            labels_control, names = _beside(of_image, labels)
            return _output(control, labels_control, names)
        own = _names_in(control, labels)
        if own is not None and (own or _allows_no_label(of_image)):
            return _output(control, None, own)
    raise _no_label(found, labels)


@dataclass(frozen=True)
class Preannotation:
    """The masks that a project wants for tasks in which nobody has clicked.

    Attributes:
        everything: whether the masks of all objects are wanted, and not those of boxes.
        label: of the masks of all objects; None where there is only one label.
    """

    everything: bool
    label: str | None


def preannotation(controls: Sequence[Control]) -> Preannotation | None:
    """What the attribute model_preannotate asks for; None where no tag has the attribute.

    Raises:
        UnanswerableRequestError: the attribute has a value that is not allowed.
    """
    for control in controls:
        wanted = control.attributes.get("model_preannotate")
        if wanted is None:
            continue
        if wanted not in ("boxes", "everything"):
            raise _not_allowed(control, "model_preannotate", '"boxes" or "everything"')
        label = control.attributes.get("model_preannotate_label")
        return Preannotation(wanted == "everything", label)
    return None


def only_label(controls: Sequence[Control], to_name: str, name: str | None) -> tuple[Label, ...]:
    """The label of masks that nobody has labelled: every mask of an image has the same.

    Args:
        controls: of the labeling config.
        to_name: the Image tag.
        name: the label, or None where the tag that takes the masks has one label only, or none.

    Raises:
        UnanswerableRequestError: there are several labels and none is named, or there is no such
            label.
    """
    of_image = [control for control in controls if to_name in control.to_names]
    outputs = candidates(of_image, to_name)[:1]
    if outputs and not outputs[0].has_labels:
        outputs = [control for control in of_image if control.type == "Labels"]
    labels = list(dict.fromkeys(label for control in outputs for label in control.labels))
    if name is None and len(labels) < 2:
        return tuple(labels)
    names = ", ".join(f'"{label.value}"' for label in labels) or "none"
    if name is None:
        raise UnanswerableRequestError(
            f"every mask gets the same label, and there are several: choose one of {names}"
        )
    if not any(control.find(Label(name)) for control in outputs):
        raise UnanswerableRequestError(
            f'masks cannot get the label "{name}": the tag for them has {names}'
        )
    return (Label(name),)


def _output(control: Control, labels_control: Control | None, labels: Sequence[str]) -> Output:
    return Output(
        control,
        labels_control,
        tuple(labels),
        _number(control, "model_tolerance", default=1.0, low=0.0, high=100.0),
        int(_number(control, "model_max_vertices", default=500, low=4, high=100_000)),
        _flag(control, "model_crop_refinement") is not False,
    )


def _beside(
    controls: Sequence[Control], labels: Sequence[Label]
) -> tuple[Control | None, Sequence[str]]:
    """The Labels tag that has the labels of a region, and how that tag writes them."""
    for control in controls:
        names = _names_in(control, labels) if control.type == "Labels" else None
        if names:
            return control, names
    return None, ()


def _names_in(control: Control, labels: Sequence[Label]) -> list[str] | None:
    """How a tag writes these labels; None where the tag has not all of them."""
    found = [control.find(label) for label in labels]
    names = [own.name for own in found if own is not None]
    return names if len(names) == len(labels) else None


def _allows_no_label(controls: Sequence[Control]) -> bool:
    return any(control.attributes.get("allowEmpty") == "true" for control in controls)


def _no_label(controls: Sequence[Control], labels: Sequence[Label]) -> UnanswerableRequestError:
    tags = ", ".join(f'{control.type} "{control.name}"' for control in controls)
    if not labels:
        return UnanswerableRequestError(
            f"no label was chosen, and {tags} needs a label: choose a label first"
        )
    missing = [label for label in labels if not any(control.find(label) for control in controls)]
    names = " and ".join(f'"{label.name}"' for label in missing or labels)
    return UnanswerableRequestError(
        f"{tags} has no label {names}: add it there, as the smart tools have it"
    )


def _flag(control: Control, name: str) -> bool | None:
    """An attribute that is "true" or "false"; None where the tag has no such attribute."""
    text = control.attributes.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise _not_allowed(control, name, '"true" or "false"')
    return text == "true"


def _number(control: Control, name: str, *, default: float, low: float, high: float) -> float:
    text = control.attributes.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise _not_allowed(control, name, f"a number from {low:g} to {high:g}")
    return number


def _not_allowed(control: Control, name: str, expected: str) -> UnanswerableRequestError:
    return UnanswerableRequestError(
        f'{name} of {control.type} "{control.name}" is "{control.attributes[name]}" in the'
        f" labeling config, and must be {expected}"
    )
