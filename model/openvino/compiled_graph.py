"""A graph that OpenVINO has compiled for this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class CompiledGraph:
    """One compiled graph that threads may share.

    A call at a time runs, on all cores, and the others wait: the single click is what has to be
    fast, and one set of OpenVINO's buffers is enough.
    """

    def __init__(
        self,
        core: openvino.Core,
        model: openvino.Model,
        precision: str,
        *,
        fuses_attention: bool = False,
    ) -> None:
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "ENABLE_CPU_PINNING": False,  # or several workers would share the first cores
            "SNIPPETS_MODE": "ENABLE" if fuses_attention else "DISABLE",
        }
        self._model = core.compile_model(model, "CPU", config)
        self._request = self._model.create_infer_request()
        self._lock = threading.Lock()

    @contextmanager
    def run(self, *inputs: npt.NDArray[Any]) -> Iterator[list[npt.NDArray[np.float32]]]:
        """The outputs, which lie in OpenVINO's buffers: valid inside the ``with`` alone."""
        with self._lock:
            self._request.infer(list(inputs), share_inputs=True)
            yield [tensor.data for tensor in self._request.output_tensors]

    def release_memory(self) -> None:
        """Give back the buffers."""
        with self._lock:
            self._model.release_memory()
