"""Writes encoder and decoder for other programs as OpenVINO's files, and runs exported files.

``docs/model-export.md`` has the inputs and outputs. Those of the decoder have the names of SAM's
own ONNX export (segment_anything/utils/onnx.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13 as opset

from model import transforms
from model.checkpoint import Parameters
from model.openvino.image_encoder import image_encoder
from model.openvino.mask_decoder import mask_decoder, mask_upscaling
from model.openvino.operations import Node, constant, graph, parameter, reshape, transpose
from model.openvino.prompt_encoder import mask_prompt
from model.types import Choose, DecoderInputs, DecoderOutputs

_CONFIG = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def write_openvino(parameters: Parameters, encoder: Path, decoder: Path) -> None:
    """Write both graphs in fp32: an ``.xml`` file each, with a ``.bin`` file beside it.

    Raises:
        OSError: a file cannot be written.
    """
    encoder.parent.mkdir(parents=True, exist_ok=True)
    network = image_encoder(parameters)
    network.output(0).get_tensor().set_names({"image_embeddings"})
    openvino.save_model(network, str(encoder), compress_to_fp16=False)
    openvino.save_model(_decoder(parameters), str(decoder), compress_to_fp16=False)


def _decoder(parameters: Parameters) -> openvino.Model:
    """The engine's three graphs of the decoder as one."""
    config = parameters.config
    grid, side = config.grid_size, 4 * config.grid_size
    embeddings = parameter("image_embeddings", (1, config.embedding_width, grid, grid))
    coords = parameter("point_coords", (-1, -1, 2))
    labels = parameter("point_labels", (-1, -1))
    mask_input = parameter("mask_input", (-1, 1, side, side))
    has_mask_input = parameter("has_mask_input", (1,))

    (added,) = _inlined(mask_prompt(parameters), mask_input)
    added = opset.select(opset.greater(has_mask_input, constant(0)), added, constant(0))
    tokens = transpose(reshape(embeddings, 1, config.embedding_width, -1), 0, 2, 1)
    keys, kernels, iou_predictions = _inlined(
        mask_decoder(parameters),
        opset.add(tokens, added),
        coords,
        opset.convert(labels, "i64"),
    )
    (low_res_masks,) = _inlined(mask_upscaling(parameters), keys, kernels)
    inputs = [embeddings, coords, labels, mask_input, has_mask_input]
    outputs = {"low_res_masks": low_res_masks, "iou_predictions": iou_predictions}
    return graph("decoder", inputs, outputs)


def _inlined(part: openvino.Model, *inputs: Node) -> list[Node]:
    """The outputs of a graph whose inputs are nodes of another graph."""
    for old, new in zip(part.get_parameters(), inputs, strict=True):
        output = new if isinstance(new, openvino.Output) else new.output(0)
        for target in old.output(0).get_target_inputs():
            target.replace_source_output(output)
    return [result.input_value(0) for result in part.get_results()]


class ExportedEngine:
    """Runs exported files on the CPU, to ask them what :mod:`model.reference` asks.

    Args:
        encoder, decoder: ``.xml`` or ``.onnx`` files.

    Raises:
        RuntimeError: OpenVINO cannot read a file.
    """

    def __init__(self, encoder: Path, decoder: Path) -> None:
        core = openvino.Core()
        self._encoder = core.compile_model(str(encoder), "CPU", _CONFIG)
        self._decoder = core.compile_model(str(decoder), "CPU", _CONFIG)
        self.image_size = self._encoder.input("frame").shape[1]

    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """See :class:`model.engines.Engine`."""
        return np.concatenate([self._encode(image) for image in images])

    def _encode(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        resized = transforms.resize_image(image, self.image_size)
        height, width = resized.shape[:2]
        frame = np.full((1, self.image_size, self.image_size, 3), 99, dtype=np.uint8)
        frame[0, :height, :width] = resized
        inputs = {"frame": frame, "input_size": np.array([height, width], dtype=np.int64)}
        features: npt.NDArray[np.float32] = self._encoder(inputs)["image_embeddings"].copy()
        return features

    def decode(self, inputs: DecoderInputs, choose: Choose | None = None) -> DecoderOutputs:
        """See :class:`model.engines.Engine`."""
        side = self.image_size // 4
        count = len(inputs.point_coords)
        mask_inputs = inputs.mask_inputs
        if mask_inputs is None:
            mask_inputs = np.zeros((count, 1, side, side), dtype=np.float32)
        answer = self._decoder(
            {
                "image_embeddings": inputs.features.astype(np.float32),
                "point_coords": inputs.point_coords,
                "point_labels": inputs.point_labels.astype(np.float32),
                "mask_input": mask_inputs,
                "has_mask_input": np.array([inputs.mask_inputs is not None], dtype=np.float32),
            }
        )
        low_res_masks, ious = answer["low_res_masks"].copy(), answer["iou_predictions"].copy()
        if choose is not None:
            low_res_masks = low_res_masks[np.arange(count), choose(ious), None]
        return low_res_masks, ious
