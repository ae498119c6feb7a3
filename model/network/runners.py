"""The encoder and the decoder with numpy arrays in and out, one caller at a time.

On CUDA, a click must not wait for the images that are encoded ahead. So the decoder has a stream of
a higher priority than the encoder, and all copies between host and device go through pinned memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from model import transforms
from model.network.mobile_sam import MobileSAM
from model.network.replay import Function, Pool, Replay
from model.types import Choose, DecoderInputs, DecoderOutputs

# Points of a prompt, with its padding point, for which a decoder is recorded: 2 is one click.
# Longer prompts are rare. Their kernels are launched one by one.
_RECORDED_POINTS = range(2, 11)

_URGENT, _PATIENT = -1, 0  # CUDA's priorities of streams


class EncoderRunner:
    """Runs the image encoder.

    Args:
        network: on its device, in fp32. Its image encoder is converted in place.
        dtype: the type that the encoder computes in.
        batches: the sizes of batches, ascending. Empty: batches of any size.
    """

    def __init__(self, network: MobileSAM, dtype: torch.dtype, batches: tuple[int, ...]) -> None:
        self._network = network
        # Convolutions read the channels of a pixel in one run, on a CPU too.
        network.image_encoder.to(dtype).to(memory_format=torch.channels_last)
        self._dtype = dtype
        self._size = network.config.image_size
        self._device = network.pixel_mean.device
        self._lock = threading.Lock()
        self._stream = _stream(self._device, _PATIENT)
        with self._stream:
            pool = _pool(self._device)
            self._replays = {
                batch: Replay(self._encode, self._empty_frames(batch), pool) for batch in batches
            }

    def run(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Embed images of any size, H x W x 3 uint8 RGB. Returns B x C x S/16 x S/16."""
        with self._lock, self._stream:
            parts = [
                _to_numpy(self._features(images[begin:end]))
                for begin, end in _parts(len(images), self._replays)
            ]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _features(self, images: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        batch, encode = _fitting(self._replays, len(images), self._encode)
        frames, input_sizes = self._empty_frames(batch)
        for index, image in enumerate(images):
            resized = self._resized(image)
            height, width = resized.shape[:2]
            frames[index, :height, :width] = resized
            input_sizes[index, 0], input_sizes[index, 1] = height, width
        (features,) = encode(frames, input_sizes)
        return features[: len(images)]

    def _empty_frames(self, batch: int) -> tuple[Tensor, Tensor]:
        """Frames, B x S x S x 3 uint8, and the size (H, W) of the image in each, B x 2 int64."""
        frames = torch.zeros(batch, self._size, self._size, 3, dtype=torch.uint8)
        return frames.to(self._device), torch.ones(batch, 2, dtype=torch.int64, device=self._device)

    def _resized(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """An image in the input frame, h x w x 3 uint8 on the device."""
        if self._device.type != "cuda":
            resized = transforms.resize_image(image, self._size)
            return torch.tensor(resized, device=self._device)
        height, width = transforms.input_size((image.shape[0], image.shape[1]), self._size)
        return resize_on_device(_to_device(image, self._device), (height, width))

    def _encode(self, frames: Tensor, input_sizes: Tensor) -> tuple[Tensor, ...]:
        images = self._network.preprocess_frames(frames, input_sizes).to(
            self._dtype, memory_format=torch.channels_last
        )
        return (self._network.image_encoder(images).float(),)


class DecoderRunner:
    """Runs the prompt encoder and the mask decoder.

    Args:
        network: on its device, in fp32.
        batches: the sizes of batches, ascending. Empty: batches of any size.
    """

    def __init__(self, network: MobileSAM, batches: tuple[int, ...]) -> None:
        self._network = network
        self._device = network.pixel_mean.device
        self._lock = threading.Lock()  # one prompt uses the whole device
        self._stream = _stream(self._device, _URGENT)
        with self._stream:
            pool = _pool(self._device)
            self._replays = {
                (points, has_mask): {
                    batch: Replay(self._decode, self._example(batch, points, has_mask), pool)
                    for batch in batches
                }
                for points in (_RECORDED_POINTS if batches else ())
                for has_mask in (False, True)
            }

    def run(self, inputs: DecoderInputs, choose: Choose | None) -> DecoderOutputs:
        """See :meth:`model.engines.Engine.decode`."""
        count, points = inputs.point_labels.shape
        replays = self._replays.get((points, inputs.mask_inputs is not None), {})
        prompts: list[npt.NDArray[Any]] = [inputs.point_coords, inputs.point_labels]
        if inputs.mask_inputs is not None:
            prompts.append(inputs.mask_inputs)
        with self._lock, self._stream:
            image_embeddings = _to_device(inputs.features, self._device).float()
            masks, ious = [], []
            for begin, end in _parts(count, replays):
                part = [_to_device(array[begin:end], self._device) for array in prompts]
                part_masks, part_ious = self._answers(replays, image_embeddings, part)
                ious.append(_to_numpy(part_ious))
                masks.append(part_masks.clone())
            return self._chosen(torch.cat(masks), np.concatenate(ious), choose)

    def _answers(
        self, replays: dict[int, Replay], image_embeddings: Tensor, prompts: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        count = len(prompts[0])
        batch, decode = _fitting(replays, count, self._decode)
        filled = [_filled(tensor, batch) for tensor in prompts]
        low_res_masks, iou_predictions = decode(image_embeddings, *filled)
        return low_res_masks[:count], iou_predictions[:count]

    def _chosen(
        self, low_res_masks: Tensor, ious: npt.NDArray[np.float32], choose: Choose | None
    ) -> DecoderOutputs:
        """Only the masks that are wanted travel to the host."""
        if choose is not None:
            rows = torch.arange(len(ious), device=self._device)
            chosen = torch.from_numpy(choose(ious)).to(self._device)
            low_res_masks = low_res_masks[rows, chosen].unsqueeze(1)
        return _to_numpy(low_res_masks), ious

    def _decode(self, image_embeddings: Tensor, *prompts: Tensor) -> tuple[Tensor, ...]:
        point_coords, point_labels, *mask_inputs = prompts
        return self._network.decode(
            image_embeddings, point_coords, point_labels, mask_inputs[0] if mask_inputs else None
        )

    def _example(self, batch: int, points: int, has_mask: bool) -> list[Tensor]:
        """Inputs of :meth:`_decode` with these shapes."""
        config = self._network.config
        tokens, side = config.image_size // 16, config.image_size // 4
        example = [
            torch.zeros(1, config.embedding_width, tokens, tokens),
            torch.zeros(batch, points, 2),
            torch.zeros(batch, points, dtype=torch.int64),
            *([torch.zeros(batch, 1, side, side)] if has_mask else []),
        ]
        return [tensor.to(self._device) for tensor in example]


def resize_on_device(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale an image as :func:`model.transforms.resize_image` does, on the image's device.

    Pillow rounds between its two passes, and this function does not. So a value may differ by one.

    Args:
        image: H x W x 3 uint8.
        size: (H, W), pixels.
    """
    if tuple(image.shape[:2]) == size:
        return image
    channels_first = image.permute(2, 0, 1).unsqueeze(0).float()
    scaled = F.interpolate(channels_first, size, mode="bilinear", antialias=True)
    return scaled[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)


def _stream(device: torch.device, priority: int) -> AbstractContextManager[Any]:
    """A context that may be entered again, in which CUDA works on a stream of its own."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device, priority=priority)  # type: ignore[no-untyped-call]
    return torch.cuda.stream(stream)


def _pool(device: torch.device) -> Pool | None:
    """Memory for recorded functions, of which one at a time runs."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


def _parts(count: int, replays: dict[int, Replay]) -> Iterator[tuple[int, int]]:
    """Ranges of at most the largest batch that cover ``count`` items."""
    largest = max(replays, default=count)
    for begin in range(0, count, largest):
        yield begin, min(count, begin + largest)


def _fitting(replays: dict[int, Replay], count: int, function: Function) -> tuple[int, Function]:
    """The smallest batch with room for ``count`` items; the plain function without batches."""
    batch = min((size for size in replays if size >= count), default=count)
    return batch, replays.get(batch, function)


def _filled(tensor: Tensor, batch: int) -> Tensor:
    """The tensor with zeros after its last row, up to ``batch`` rows."""
    missing = batch - len(tensor)
    return torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]) if missing else tensor


def _to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.tensor(array)  # copies: arrays may be read-only
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _to_numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    tensor = tensor.float().contiguous()
    if not tensor.is_cuda:
        array: npt.NDArray[np.float32] = tensor.cpu().numpy()
        return array
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return pinned.numpy()
