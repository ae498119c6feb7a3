"""Runs the network with torch: for CUDA, for MPS, and where OpenVINO cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

# On CUDA, this many images and this many prompts pass together. A predictor asks for at most 8
# prompts. 16 images together are not faster than 8, and take seconds more at the start.
_ENCODE_BATCHES = (1, 8)
_DECODE_BATCHES = (1, 4, 8)

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
        encode_batches: how many images pass through the encoder together, with 1 among them. On
            CUDA, each number is recorded as a graph of its own. Empty: any number, and nothing is
            recorded.
        decode_batches: the same of prompts and the decoder.
    """

    def __init__(
        self,
        checkpoint: Path,
        precision: str,
        device: str = "cpu",
        *,
        encode_batches: tuple[int, ...] = (),
        decode_batches: tuple[int, ...] = (),
    ) -> None:
        network = load_network(checkpoint).to(device)
        self._network = network
        self.image_size = network.config.image_size
        self.embedding_width = network.config.embedding_width
        self.encode_batch = max(encode_batches, default=1)
        self.device = device
        self.description = f"torch on {device}, {precision}"
        with torch.inference_mode():
            self._encoder = EncoderRunner(network, _DTYPES[precision], encode_batches)
            self._decoder = DecoderRunner(network, decode_batches)

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
        with _memory_errors(self.device), torch.inference_mode():
            return self._decoder.run(inputs, choose)

    def find_masks(self, inputs: DecoderInputs, iou_thresh: float, rows: int) -> DecoderOutputs:
        """See :class:`model.engines.Engine`.

        Raises:
            OutOfDeviceMemoryError: the device has no room for the prompts.
        """
        with _memory_errors(self.device), torch.inference_mode():
            return self._decoder.find(inputs, iou_thresh, rows)

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


@contextmanager
def _memory_errors(device: str) -> Iterator[None]:
    """Names the device and the remedy where torch finds no memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        _release_memory()
        raise OutOfDeviceMemoryError(device) from error


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
    with _memory_errors(device):
        return _verified_on_cuda(checkpoint, "fp16" if precision == "auto" else precision)


def _verified_on_cuda(checkpoint: Path, precision: str) -> TorchEngine:
    torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32: TF32 has the digits of fp16
    expected = reference.ask(TorchEngine(checkpoint, "fp32", "cuda"))
    try:
        return _recorded(checkpoint, precision, expected)
    except WrongAnswerError as error:
        if precision == "fp32":
            raise
        logger.error("torch failed its self-check in %s (%s): fp32 serves", precision, error)
    engine = _recorded(checkpoint, "fp32", expected)
    engine.description += f", since {precision} failed its self-check"
    return engine


def _recorded(checkpoint: Path, precision: str, expected: Answers) -> TorchEngine:
    try:
        engine = _record(checkpoint, precision, _ENCODE_BATCHES)
    except torch.OutOfMemoryError:
        engine = None  # a second try in this block would find the memory of the first one taken
    if engine is None:
        logger.warning("cuda has little memory left: images are encoded one at a time")
        engine = _record(checkpoint, precision, _ENCODE_BATCHES[:1])
    reference.check(engine, expected, precision)
    return engine


def _record(checkpoint: Path, precision: str, encode_batches: tuple[int, ...]) -> TorchEngine:
    _release_memory()
    engine = TorchEngine(
        checkpoint,
        precision,
        "cuda",
        encode_batches=encode_batches,
        decode_batches=_DECODE_BATCHES,
    )
    _release_memory()  # of the runs before the recording, gigabytes that other programs may need
    return engine


def _release_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
