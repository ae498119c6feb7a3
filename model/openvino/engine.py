"""The engine of CPUs: one compiled graph for each part, shared by threads."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino

from model import transforms
from model.checkpoint import Arrays, Parameters, decoder_parameters
from model.openvino.compiled_graph import CompiledGraph
from model.openvino.features import image_tokens
from model.openvino.image_encoder import image_encoder
from model.openvino.mask_decoder import mask_decoder, mask_upscaling
from model.openvino.prompt_encoder import mask_prompt
from model.openvino.search import Search
from model.types import Choose, DecoderInputs, DecoderOutputs

_CAPABILITIES = {"bf16": "BF16", "fp16": "FP16"}


def choose_precision(precision: str) -> str:
    """``auto`` is bf16 where the processor computes in it, else fp32.

    Raises:
        ValueError: the processor does not compute in this precision.
    """
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "auto":
        return "bf16" if _CAPABILITIES["bf16"] in able else "fp32"
    if precision != "fp32" and _CAPABILITIES[precision] not in able:
        raise ValueError(
            f"this processor does not compute in {precision}: set the precision to auto or fp32"
        )
    return precision


class OpenVINOEngine:
    """See :class:`model.engines.Engine`.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``, of the encoder and of the last step of the
            decoder, the upscaling. The rest of the decoder runs in fp32: in bf16 it moves the
            masks of single clicks.
        compiled: a folder where OpenVINO keeps compiled graphs. The next start is 0.3 s faster,
            and workers share 50 MB of memory that each would need for itself.
    """

    def __init__(
        self, parameters: Parameters, precision: str, compiled: Path | None = None
    ) -> None:
        core = openvino.Core()
        if compiled is not None:
            core.set_property({"CACHE_DIR": str(compiled)})
        # OpenVINO's fused attention is faster in the encoder and slower in the decoder.
        self._encoder = CompiledGraph(
            core, image_encoder(parameters), precision, fuses_attention=True
        )
        self._decoder = _Decoder(core, parameters, precision)
        self._search = Search(core, parameters, precision)
        self._config = parameters.config
        self._precision = precision
        self.image_size = parameters.config.image_size
        self.embedding_width = parameters.config.embedding_width
        self.encode_batch = 1  # one image uses all cores
        self.device = "cpu"
        self.description = f"OpenVINO on cpu, {precision}"

    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """See :class:`model.engines.Engine`."""
        features = [self._encode(image) for image in images]
        return np.concatenate(features) if len(features) > 1 else features[0]

    def _encode(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        resized = transforms.resize_image(image, self.image_size)
        height, width = resized.shape[:2]
        frame = np.zeros((1, self.image_size, self.image_size, 3), dtype=np.uint8)
        frame[0, :height, :width] = resized
        input_size = np.array([height, width], dtype=np.int64)
        with self._encoder.run(frame, input_size) as (features,):
            return features.copy()

    def decode(self, inputs: DecoderInputs, choose: Choose | None = None) -> DecoderOutputs:
        """See :class:`model.engines.Engine`."""
        return self._decoder.run(inputs, choose)

    def find_masks(self, inputs: DecoderInputs, iou_thresh: float, rows: int) -> DecoderOutputs:
        """See :class:`model.engines.Engine`."""
        ask = self._search.verified(self)
        return ask(inputs, iou_thresh, rows)

    def with_decoder(self, arrays: Arrays) -> OpenVINOEngine:
        """See :class:`model.engines.Engine`."""
        engine = copy(self)
        parameters = decoder_parameters(self._config, arrays)
        engine._decoder = _Decoder(openvino.Core(), parameters, self._precision)
        engine._search = Search(openvino.Core(), parameters, self._precision)
        return engine

    def release_memory(self) -> None:
        """Give back what earlier calls needed; the next ones take what they need."""
        self._encoder.release_memory()
        self._decoder.release_memory()
        self._search.release_memory()


class _Decoder:
    """The graphs behind the image encoder."""

    def __init__(self, core: openvino.Core, parameters: Parameters, precision: str) -> None:
        self._decoder = CompiledGraph(core, mask_decoder(parameters), "fp32")
        self._upscaling = CompiledGraph(core, mask_upscaling(parameters), precision)
        self._mask_prompt = CompiledGraph(core, mask_prompt(parameters), "fp32")

    def run(self, inputs: DecoderInputs, choose: Choose | None) -> DecoderOutputs:
        """See :meth:`model.engines.Engine.decode`."""
        tokens = image_tokens(inputs.features)
        if inputs.mask_inputs is not None:
            with self._mask_prompt.run(inputs.mask_inputs) as (added,):
                tokens = tokens + added
        points = inputs.point_coords, inputs.point_labels
        with (
            self._decoder.run(tokens, *points) as (keys, kernels, ious),
            self._upscaling.run(keys, _wanted(kernels, ious, choose)) as (low_res_masks,),
        ):
            return low_res_masks.copy(), ious.copy()

    def release_memory(self) -> None:
        """Give back the buffers."""
        for graph in (self._decoder, self._upscaling, self._mask_prompt):
            graph.release_memory()


def _wanted(
    kernels: npt.NDArray[np.float32], ious: npt.NDArray[np.float32], choose: Choose | None
) -> npt.NDArray[np.float32]:
    """B x 4 x C/8 to B x 1 x C/8, the kernel of the mask that is chosen."""
    if choose is None:
        return kernels
    wanted: npt.NDArray[np.float32] = kernels[np.arange(len(kernels)), choose(ious), None]
    return wanted
