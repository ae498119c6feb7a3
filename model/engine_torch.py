"""Runs the network with torch: for CUDA, for MPS, and where OpenVINO cannot be used."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.network.checkpoint import load_network
from model.types import Choose

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def best_device() -> str:
    """``cuda`` or ``mps`` where there is one, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchEngine:
    """See :class:`model.engines.Engine`.

    Args:
        checkpoint: the file.
        precision: that of the encoder, which is nearly all of the work and barely changes the
            masks; the decoder always runs in fp32. ``auto`` is bf16 on CUDA and fp32 elsewhere.
    """

    def __init__(self, checkpoint: Path, precision: str) -> None:
        self._device = torch.device(best_device())
        # One prompt at a time uses all cores; more at once would only get into each other's way.
        self._lock = threading.Lock()
        if precision == "auto":
            precision = "bf16" if self._device.type == "cuda" else "fp32"
        self._encoder_dtype = _DTYPES[precision]
        self._network = load_network(checkpoint).to(self._device)
        # Half a second or more faster on a CPU: convolutions read their channels in one run.
        self._network.image_encoder.to(memory_format=torch.channels_last)
        self.image_size = self._network.config.image_size
        self.embedding_width = self._network.config.embedding_width
        self.description = f"torch on {self._device.type}, {precision}"

    def encode(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See :class:`model.engines.Engine`."""
        with torch.inference_mode():
            pixels = torch.tensor(image, device=self._device).permute(2, 0, 1).unsqueeze(0)
            images = self._network.preprocess(pixels)  # 1 x 3 x S x S
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(
                self._device.type,
                dtype=self._encoder_dtype,
                enabled=self._encoder_dtype != torch.float32,
            ):
                features = self._network.image_encoder(images)
            return _to_numpy(features)

    def decode(
        self,
        features: npt.NDArray[np.float32] | npt.NDArray[np.float16],
        point_coords: npt.NDArray[np.float32],
        point_labels: npt.NDArray[np.int64],
        mask_inputs: npt.NDArray[np.float32] | None,
        choose: Choose | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """See :class:`model.engines.Engine`."""
        with self._lock, torch.inference_mode():
            low_res_masks, iou_predictions = self._network.decode(
                torch.tensor(features, device=self._device, dtype=torch.float32),
                torch.tensor(point_coords, device=self._device),
                torch.tensor(point_labels, device=self._device),
                None if mask_inputs is None else torch.tensor(mask_inputs, device=self._device),
            )
            ious = _to_numpy(iou_predictions)
            if choose is not None:
                rows = torch.arange(len(ious), device=self._device)
                chosen = torch.from_numpy(choose(ious)).to(self._device)
                low_res_masks = low_res_masks[rows, chosen].unsqueeze(1)
            return _to_numpy(low_res_masks), ious


def _to_numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.float().contiguous().cpu().numpy()
    return array
