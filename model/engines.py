"""How the network is run. An engine takes and gives numpy arrays; its library stays behind it."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from model.checkpoint import Arrays
from model.installation import missing, pip_install
from model.reference import WrongAnswerError
from model.types import Choose, DecoderInputs, DecoderOutputs
from model.weights import Checkpoint

EngineName = Literal["auto", "openvino", "torch"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

logger = logging.getLogger(__name__)

_INSTALL_TORCH = (
    f"{pip_install('-r', 'requirements.txt')} installs torch and timm, and so does make run GPU=1"
)

# What the drivers of NVIDIA, of NVIDIA under WSL and of AMD put there. torch alone knows whether
# it can use them, but costs seconds and hundreds of megabytes to ask.
ACCELERATOR_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


class OutOfDeviceMemoryError(RuntimeError):
    """A GPU has no memory left for an image or for a prompt."""

    def __init__(self, device: str) -> None:
        super().__init__(
            f"{device} has no memory left for the model: another process may use it"
            " (nvidia-smi lists the processes)"
        )


class Engine(Protocol):
    """One loaded checkpoint on one device. Holds no state between calls: threads may share it."""

    image_size: int  # side S of the input frame, pixels
    embedding_width: int  # channels C of an embedding
    encode_batch: int  # how many images together are encoded fastest
    device: str  # cpu, cuda or mps
    description: str  # for the log and /health: engine, device, precision

    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Embed images.

        Args:
            images: B images, each H x W x 3 RGB. Their sizes may differ: the engine scales each
                image to the input frame.

        Returns:
            B x C x S/16 x S/16.
        """

    def decode(self, inputs: DecoderInputs, choose: Choose | None = None) -> DecoderOutputs:
        """Predict masks for B prompts on one image.

        Args:
            inputs: the prompts and the features of the image.
            choose: which answer is wanted for each prompt. The others are not upscaled, which
                saves time. None for all four answers.

        Returns:
            low_res_masks, B x 4 x S/4 x S/4 logits (B x 1 x S/4 x S/4 with ``choose``), and
            iou_predictions, B x 4. Of the 4, index 0 is the single mask, and 1 to 3 are the
            answers to an ambiguous prompt.
        """

    def find_masks(self, inputs: DecoderInputs, iou_thresh: float, rows: int) -> DecoderOutputs:
        """Predict masks for B ambiguous prompts on one image, where the network is confident.

        This is faster than :meth:`decode` and may be less exact: a mask is one of many here.

        Args:
            inputs: the prompts, without mask inputs, and the features of the image.
            iou_thresh: the lowest predicted IoU. Other answers are left out.
            rows: how many rows of the low-res masks are wanted.

        Returns:
            low_res_masks, K x rows x S/4 logits, and iou_predictions, K: the answers to ambiguous
            prompts that are left, in the order of the prompts.
        """

    def with_decoder(self, arrays: Arrays) -> Engine:
        """An engine with another decoder. It shares the image encoder with this engine.

        So both engines work on the same embeddings.

        Args:
            arrays: every tensor of :func:`model.architecture.decoder_shapes`.

        Raises:
            ValueError: a tensor is missing, unknown, of another shape, or not finite.
        """


def load_engine(
    checkpoint: Checkpoint, engine: EngineName, precision: Precision, folder: Path
) -> Engine:
    """Load a checkpoint into an engine, and run it once: the first run is several times slower.

    OpenVINO is asked questions whose answers are known, see ``model/openvino/self_check.py``.
    Where it cannot run or is wrong, torch in fp32 takes over: ``description`` and the log say so.

    Args:
        engine: ``auto`` is torch where that is installed and finds CUDA or MPS, else OpenVINO.
        precision: of the image encoder; see the engines for ``auto`` and for what else it sets.
        folder: where OpenVINO may keep what it made of a checkpoint. It need not be there.

    Raises:
        ValueError: an unknown engine or precision, one that the processor does not have, the
            file is no checkpoint, or torch is needed and not installed.
    """
    if engine not in ("auto", "openvino", "torch"):
        raise ValueError(f"engine is {engine!r}; it must be auto, openvino or torch")
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise ValueError(f"precision is {precision!r}; it must be auto, fp32, bf16 or fp16")
    if engine == "torch":
        if not _has_torch():
            raise ValueError(f"the engine is torch, which is not installed: {_INSTALL_TORCH}")
        return _load_torch(checkpoint, precision)
    if engine == "auto" and _has_accelerator():
        return _load_torch(checkpoint, precision)
    return _load_openvino(checkpoint, precision, folder)


def _load_openvino(checkpoint: Checkpoint, precision: Precision, folder: Path) -> Engine:
    try:
        from model.openvino.engine import choose_precision
        from model.openvino.self_check import verified_engine

        return verified_engine(checkpoint, choose_precision(precision), folder)
    except (WrongAnswerError, ImportError, RuntimeError) as error:  # OpenVINO raises the latter
        reason = str(error).strip().splitlines()[-1]
        if not _has_torch():
            raise ValueError(
                f"OpenVINO failed its self-check ({reason}), and torch, which would serve instead,"
                f" is not installed: {_INSTALL_TORCH}"
            ) from error
        logger.error("OpenVINO failed its self-check (%s): torch serves", reason)
        fallback = _load_torch(checkpoint, "fp32")
        fallback.description += ", since OpenVINO failed its self-check"
        return fallback


def _load_torch(checkpoint: Checkpoint, precision: Precision) -> Engine:
    from model.engine_torch import verified_engine

    try:
        return verified_engine(checkpoint.path, precision)
    except (OutOfDeviceMemoryError, WrongAnswerError) as error:
        raise ValueError(f"torch cannot run the model: {error}") from error


def _has_torch() -> bool:
    return not missing(("torch", "timm"))


def _has_accelerator() -> bool:
    is_apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if not is_apple and not any(device.exists() for device in ACCELERATOR_DEVICES):
        return False
    if not _has_torch():
        logger.warning("there is a GPU that is not used: %s", _INSTALL_TORCH)
        return False

    from model.engine_torch import best_device

    return best_device() != "cpu"
