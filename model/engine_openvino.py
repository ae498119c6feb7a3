"""Runs the network with OpenVINO on the CPU, without torch in the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import openvino

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_CAPABILITIES = {"bf16": "BF16", "fp16": "FP16"}
_COMPILED = "compiled"  # folder beside the models where OpenVINO keeps what it compiled


class OpenVINOEngine:
    """See :class:`model.engines.Engine`.

    Args:
        conversion: the folder that :func:`model.conversion.convert_once` gives.
        precision: that of the encoder and of the decoder's last step, the upscaling. ``auto`` is
            bf16 where the processor computes in it, else fp32. The rest of the decoder runs in
            fp32: in bf16 it moves the masks of single clicks.

    Raises:
        ValueError: the processor does not compute in this precision.
    """

    def __init__(self, conversion: Path, precision: str) -> None:
        core = openvino.Core()
        core.set_property({"CACHE_DIR": str(conversion / _COMPILED)})
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "auto":
            precision = "bf16" if _CAPABILITIES["bf16"] in able else "fp32"
        if precision != "fp32" and _CAPABILITIES[precision] not in able:
            raise ValueError(
                f"this processor does not compute in {precision}: set the precision to auto or fp32"
            )
        self._encoder = _Network(core, conversion / "encoder.xml", precision)
        self._decoder = _Network(core, conversion / "decoder.xml", "fp32")
        self._upscaling = _Network(core, conversion / "upscaling.xml", precision)
        self._mask_prompt = _Network(core, conversion / "mask_prompt.xml", "fp32")
        self.image_size = self._encoder.input_shape[1]
        self.description = f"OpenVINO on cpu, {precision}"

    def encode(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See :class:`model.engines.Engine`."""
        height, width = image.shape[:2]
        frame = np.zeros((1, self.image_size, self.image_size, 3), dtype=np.uint8)
        frame[0, :height, :width] = image
        input_size = np.array([height, width], dtype=np.int64)
        with self._encoder.run(frame, input_size) as (features,):
            return features.copy()

    def decode(
        self,
        features: npt.NDArray[np.float32] | npt.NDArray[np.float16],
        point_coords: npt.NDArray[np.float32],
        point_labels: npt.NDArray[np.int64],
        mask_inputs: npt.NDArray[np.float32] | None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """See :class:`model.engines.Engine`."""
        image_tokens = _image_tokens(features)
        if mask_inputs is not None:
            with self._mask_prompt.run(mask_inputs) as (added,):
                image_tokens = image_tokens + added
        with (
            self._decoder.run(image_tokens, point_coords, point_labels) as (keys, kernels, ious),
            self._upscaling.run(keys, kernels) as (low_res_masks,),
        ):
            return low_res_masks.copy(), ious.copy()

    def release_memory(self) -> None:
        """Give back what earlier calls needed; the next ones take what they need."""
        for network in (self._encoder, self._decoder, self._upscaling, self._mask_prompt):
            network.release_memory()


def _image_tokens(
    features: npt.NDArray[np.float32] | npt.NDArray[np.float16],
) -> npt.NDArray[np.float32]:
    """1 x C x H x W to 1 x HW x C. OpenCV does it in a fifth of the time that numpy takes."""
    by_channel: npt.NDArray[Any] = features.reshape(features.shape[1], -1)  # C x HW
    if by_channel.dtype == np.float16:
        by_channel = cv2.convertFp16(by_channel.view(np.int16))
    tokens: npt.NDArray[Any] = cv2.transpose(by_channel)
    return tokens[None]


class _Network:
    """One compiled model that threads may share.

    A call at a time runs, on all cores, and the others wait: the single click is what has to be
    fast, and one set of OpenVINO's buffers is enough.
    """

    def __init__(self, core: openvino.Core, path: Path, precision: str) -> None:
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "ENABLE_CPU_PINNING": False,  # or several workers would share the first cores
            # The fused attention is slower at the decoder's shapes than plain matrix products.
            "SNIPPETS_MODE": "DISABLE",
        }
        self._model = core.compile_model(path, "CPU", config)
        self._request = self._model.create_infer_request()
        self._lock = threading.Lock()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first input."""
        return tuple(self._model.input(0).shape)

    @contextmanager
    def run(self, *inputs: npt.NDArray[Any]) -> Iterator[list[npt.NDArray[np.float32]]]:
        """The outputs, which lie in OpenVINO's buffers: valid inside the ``with`` alone."""
        with self._lock:
            self._request.infer(list(inputs), share_inputs=True)
            yield [tensor.data for tensor in self._request.output_tensors]

    def release_memory(self) -> None:
        with self._lock:
            self._model.release_memory()
