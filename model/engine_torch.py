"""Runs the network with torch: for CUDA, for MPS, and where OpenVINO cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model import reference
from model.checkpoint import Arrays, decoder_parameters
from model.engines import OutOfDeviceMemoryError
from model.network.checkpoint import load_network
from model.network.runners import DecoderRunner, EncoderRunner
from model.reference import Answers, WrongAnswerError
from model.types import Choose, DecoderInputs, DecoderOutputs

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# On CUDA, this many images or prompts pass together. Other numbers are filled up to the next one.
_BATCHES = (1, 4, 16)

logger = logging.getLogger(__name__)


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
            masks; the decoder always runs in fp32.
        device: ``cpu``, ``cuda`` or ``mps``.
        batches: how many images, and how many prompts, the runners take together. On CUDA, each
            number is recorded as a graph of its own. Empty: any number, and nothing is recorded.
    """

    def __init__(
        self, checkpoint: Path, precision: str, device: str = "cpu", batches: tuple[int, ...] = ()
    ) -> None:
        network = load_network(checkpoint).to(device)
        self._network = network
        self.image_size = network.config.image_size
        self.embedding_width = network.config.embedding_width
        self.encode_batch = max(batches, default=1)
        self.device = device
        self.description = f"torch on {device}, {precision}"
        with torch.inference_mode():
            self._encoder = EncoderRunner(network, _DTYPES[precision], batches)
            self._decoder = DecoderRunner(network, batches)

    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """See :class:`model.engines.Engine`.

        Raises:
            OutOfDeviceMemoryError: the device has no room for a single image.
        """
        try:
            with torch.inference_mode():
                return self._encoder.run(images)
        except torch.OutOfMemoryError as error:
            _release_memory()
            if len(images) == 1:
                raise OutOfDeviceMemoryError(self.device) from error
        half = len(images) // 2
        return np.concatenate([self.encode(images[:half]), self.encode(images[half:])])

    def decode(self, inputs: DecoderInputs, choose: Choose | None = None) -> DecoderOutputs:
        """See :class:`model.engines.Engine`.

        Raises:
            OutOfDeviceMemoryError: the device has no room for the prompts.
        """
        try:
            with torch.inference_mode():
                return self._decoder.run(inputs, choose)
        except torch.OutOfMemoryError as error:
            _release_memory()
            raise OutOfDeviceMemoryError(self.device) from error

    def with_decoder(self, arrays: Arrays) -> TorchEngine:
        """See :class:`model.engines.Engine`. Nothing is recorded for the decoder on CUDA.

        A recording is disturbed by other calls, and projects get decoders while clicks are served.
        """
        decoder = decoder_parameters(self._network.config, arrays).arrays
        encoder = self._network.image_encoder
        engine = copy(self)
        engine._network = deepcopy(self._network, {id(encoder): encoder})  # not the encoder
        tensors = {name: torch.tensor(array) for name, array in decoder.items()}
        engine._network.load_state_dict(tensors, strict=False)
        with torch.inference_mode():
            engine._decoder = DecoderRunner(engine._network, ())
        return engine

    def find_masks(self, inputs: DecoderInputs, iou_thresh: float, rows: int) -> DecoderOutputs:
        """See :class:`model.engines.Engine`."""
        low_res_masks, ious = self.decode(inputs)
        is_wanted = ious[:, 1:] >= iou_thresh
        return low_res_masks[:, 1:, :rows][is_wanted], ious[:, 1:][is_wanted]


def verified_engine(checkpoint: Path, precision: str) -> TorchEngine:
    """An engine on the best device. On CUDA its answers are compared with those of fp32.

    Args:
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto``: fp16 on CUDA, and fp32 elsewhere.

    Raises:
        OutOfDeviceMemoryError: the device has no room for the network.
        WrongAnswerError: the fast way of running the network is wrong in fp32 too.
    """
    device = best_device()
    if device != "cuda":
        engine = TorchEngine(checkpoint, "fp32" if precision == "auto" else precision, device)
        reference.warm_up(engine)
        return engine
    try:
        return _verified_on_cuda(checkpoint, "fp16" if precision == "auto" else precision)
    except torch.OutOfMemoryError as error:
        raise OutOfDeviceMemoryError(device) from error


def _verified_on_cuda(checkpoint: Path, precision: str) -> TorchEngine:
    expected = reference.ask(TorchEngine(checkpoint, "fp32", "cuda"))
    _release_memory()
    try:
        return _checked(TorchEngine(checkpoint, precision, "cuda", _BATCHES), expected, precision)
    except WrongAnswerError as error:
        if precision == "fp32":
            raise
        logger.error("torch failed its self-check in %s (%s): fp32 serves", precision, error)
    engine = _checked(TorchEngine(checkpoint, "fp32", "cuda", _BATCHES), expected, "fp32")
    engine.description += f", since {precision} failed its self-check"
    return engine


def _checked(engine: TorchEngine, expected: Answers, precision: str) -> TorchEngine:
    reference.check(engine, expected, precision)
    return engine


def _release_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
