"""Masks to regions of Label Studio, of the type that the labeling config has for masks."""

from __future__ import annotations

import base64
import uuid
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.regions import mask_shapes
from backend.regions.controls import Control
from backend.regions.outputs import Output
from backend.regions.prompts import Interaction
from model.cleanup import main_parts
from model.formats import brush_rle
from model.types import MaskPrediction

Value = dict[str, Any]

_DECIMALS = 5  # of a percent: below a thousandth of a pixel in any image


def render(
    prediction: MaskPrediction, interaction: Interaction, output: Output
) -> list[dict[str, Any]]:
    """A mask as regions; none for an empty mask.

    An object is one region, but each separate part of an object is a polygon of its own. Ellipses
    and rectangles leave out small parts that nobody clicked: a part far away would make them too
    large. Where a Labels tag has the label, the result has two entries with the same id, the shape
    and its label. The editor itself writes such regions so.
    """
    if not prediction.mask.any():
        return []
    regions = []
    for value in _values(prediction.mask, interaction, output):
        region = _region(prediction, interaction, output.control, value)
        if output.control.has_labels:
            value[output.control.type.lower()] = list(output.labels)
        regions.append(region)
        if output.labels_control is not None:
            labels = {
                "from_name": output.labels_control.name,
                "type": "labels",
                "value": {**value, "labels": list(output.labels)},
            }
            regions.append({**region, **labels})
    return regions


def encode_bitmask(mask: npt.NDArray[np.bool_]) -> str:
    """A mask, H x W, as the data: URL of a PNG: white on the object, transparent elsewhere.

    Label Studio 1.23 reads the transparency. Its coming editor reads the red channel.
    """
    png = Image.fromarray(mask.astype(np.uint8), "P")
    png.putpalette(bytes([0, 0, 0, 255, 255, 255]))
    content = BytesIO()
    png.save(content, "PNG", bits=1, transparency=0)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def score(prediction: MaskPrediction) -> float:
    """The predicted IoU as Label Studio shows scores, 0 to 1."""
    return round(min(max(prediction.iou_prediction, 0.0), 1.0), 4)


def _values(mask: npt.NDArray[np.bool_], interaction: Interaction, output: Output) -> list[Value]:
    """The mask as values of regions, one value for each region."""
    height, width = mask.shape
    match output.control.shape:
        case "brush":
            return [{"format": "rle", "rle": brush_rle.encode(mask)}]
        case "bitmask":
            return [{"imageDataURL": encode_bitmask(mask)}]
        case "polygon":
            percent = 100 / np.array([width, height])
            rings = mask_shapes.polygons(mask, output.tolerance, output.max_vertices)
            return [
                {"points": (ring * percent).round(_DECIMALS).tolist(), "closed": True}
                for ring in rings
            ]
        case "ellipse":
            main = main_parts(mask, interaction.prompt((height, width)))
            return [_ellipse_value(mask_shapes.ellipse(main), width, height)]
        case "rectangle":
            main = main_parts(mask, interaction.prompt((height, width)))
            x, y, box_width, box_height = mask_shapes.bounding_box(main)
            return [
                {
                    "x": _percent(x, width),
                    "y": _percent(y, height),
                    "width": _percent(box_width, width),
                    "height": _percent(box_height, height),
                    "rotation": 0,
                }
            ]
        case shape:
            raise AssertionError(f"masks cannot be drawn as {shape}")


def _ellipse_value(ellipse: mask_shapes.Ellipse, width: int, height: int) -> Value:
    """Label Studio turns an ellipse on the screen: radii are percent of the image before that."""
    return {
        "x": _percent(ellipse.center[0], width),
        "y": _percent(ellipse.center[1], height),
        "radiusX": _percent(ellipse.radii[0], width),
        "radiusY": _percent(ellipse.radii[1], height),
        "rotation": round(ellipse.rotation, 2),
    }


def _percent(pixels: float, size: int) -> float:
    return round(100 * pixels / size, _DECIMALS)


def _region(
    prediction: MaskPrediction, interaction: Interaction, control: Control, value: Value
) -> dict[str, Any]:
    height, width = prediction.mask.shape
    region = {
        "id": str(uuid.uuid4()),  # a repeated id overwrites a region that was accepted
        "from_name": control.name,
        "to_name": interaction.to_name,
        "type": control.type.lower(),
        "original_width": width,
        "original_height": height,
        "image_rotation": interaction.image_rotation,
        "value": value,
        "score": score(prediction),
        "readonly": False,
    }
    if interaction.is_tagless:
        del region["from_name"]
    if interaction.item_index is not None:
        region["item_index"] = interaction.item_index
    return region
