"""The encoder and the decoder with numpy arrays in and out, one caller at a time.

On CUDA, a click must not wait for the images that are encoded ahead. So the decoder has a stream of
a higher priority than the encoder, and large copies between host and device go through pinned
memory.
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

# A batch is filled up from this share on. Fewer items are faster one by one.
_LEAST_FILLED = 0.75

# Bytes. A copy of less takes less time than to get pinned memory for the copy.
_LEAST_PINNED = 65536

_URGENT, _PATIENT = -1, 0  # CUDA's priorities of streams


class EncoderRunner:
    """Runs the image encoder.

    Args:
        network: on its device, in fp32. Its image encoder is converted in place.
        dtype: the type that the encoder computes in.
        batches: the sizes of batches, 1 among them. Empty: batches of any size.
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
                batch: Replay(self._encode, self._example(batch), pool) for batch in batches
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
        frames = self._empty_frames(batch)
        input_sizes = np.ones((batch, 2), np.int64)
        for index, image in enumerate(images):
            resized = self._resized(image)
            height, width = resized.shape[:2]
            frames[index, :height, :width] = resized
            input_sizes[index] = height, width
        (features,) = encode(frames, _to_device(input_sizes, self._device))
        return features[: len(images)]

    def _empty_frames(self, batch: int) -> Tensor:
        """B x S x S x 3 uint8."""
        shape = batch, self._size, self._size, 3
        return torch.zeros(shape, dtype=torch.uint8, device=self._device)

    def _example(self, batch: int) -> list[Tensor]:
        """Inputs of :meth:`_encode`: frames, and the size (H, W) of each image, B x 2 int64."""
        input_sizes = torch.ones(batch, 2, dtype=torch.int64, device=self._device)
        return [self._empty_frames(batch), input_sizes]

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
        batches: the sizes of batches, 1 among them. Empty: batches of any size.
    """

    def __init__(self, network: MobileSAM, batches: tuple[int, ...]) -> None:
        self._network = network
        self._device = network.pixel_mean.device
        self._lock = threading.Lock()  # one prompt uses the whole device
        self._image_pe = network.prompt_encoder.image_pe()  # the same for all prompts
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
        with self._lock, self._stream:
            low_res_masks, ious = self._answers(inputs)
            if choose is not None:
                chosen = np.arange(len(ious)) * ious.shape[1] + choose(ious)
                rows = _to_device(chosen, self._device)
                low_res_masks = low_res_masks.flatten(0, 1).index_select(0, rows).unsqueeze(1)
            return _to_numpy(low_res_masks), ious

    def find(self, inputs: DecoderInputs, iou_thresh: float, rows: int) -> DecoderOutputs:
        """See :meth:`model.engines.Engine.find_masks`."""
        with self._lock, self._stream:
            low_res_masks, ious = self._answers(inputs)
            is_wanted = ious[:, 1:] >= iou_thresh
            wanted = low_res_masks[:, 1:, :rows][_to_device(is_wanted, self._device)]
            return _to_numpy(wanted), ious[:, 1:][is_wanted]

    def _answers(self, inputs: DecoderInputs) -> tuple[Tensor, npt.NDArray[np.float32]]:
        """The masks stay on the device: only masks that are wanted travel to the host."""
        count, points = inputs.point_labels.shape
        replays = self._replays.get((points, inputs.mask_inputs is not None), {})
        prompts: list[npt.NDArray[Any]] = [inputs.point_coords, inputs.point_labels]
        if inputs.mask_inputs is not None:
            prompts.append(inputs.mask_inputs)
        image_embeddings = _to_device(inputs.features, self._device).float()
        masks, ious = [], []
        for begin, end in _parts(count, replays):
            batch, decode = _fitting(replays, end - begin, self._decode)
            part = [_copied(array[begin:end], self._device, batch) for array in prompts]
            low_res_masks, iou_predictions = decode(image_embeddings, *part)
            masks.append(low_res_masks[: end - begin])
            if end < count:  # the next call overwrites what a recorded function has returned
                masks[-1] = masks[-1].clone()
            ious.append(_to_numpy(iou_predictions[: end - begin]))
        return torch.cat(masks) if len(masks) > 1 else masks[0], np.concatenate(ious)

    def _decode(self, image_embeddings: Tensor, *prompts: Tensor) -> tuple[Tensor, ...]:
        point_coords, point_labels, *mask_inputs = (
            tensor.to(self._device, non_blocking=tensor.is_pinned()) for tensor in prompts
        )
        sparse_embeddings, dense_embeddings = self._network.prompt_encoder(
            point_coords, point_labels, mask_inputs[0] if mask_inputs else None
        )
        answers: tuple[Tensor, Tensor] = self._network.mask_decoder(
            image_embeddings, self._image_pe, sparse_embeddings, dense_embeddings
        )
        return answers

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

    Pillow scales the rows and then the columns, and rounds half up after each. Its weights are
    rounded too, so that a few pixels of a thousand may differ by one.

    Args:
        image: H x W x 3 uint8.
        size: (H, W), pixels.
    """
    scaled = image.permute(2, 0, 1).unsqueeze(0)
    for step in ((image.shape[0], size[1]), size):
        if tuple(scaled.shape[2:]) != step:
            exact = F.interpolate(scaled.float(), step, mode="bilinear", antialias=True)
            scaled = (exact + 0.5).floor().clamp(0, 255).to(torch.uint8)
    return scaled[0].permute(1, 2, 0)


def _stream(device: torch.device, priority: int) -> AbstractContextManager[Any]:
    """A context that may be entered again, in which CUDA works on a stream of its own.

    The stream waits for what was begun before: the network may still be on its way to the device.
    """
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device, priority=priority)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    return torch.cuda.stream(stream)


def _pool(device: torch.device) -> Pool | None:
    """Memory for recorded functions, of which one at a time runs."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


def _parts(count: int, replays: dict[int, Replay]) -> Iterator[tuple[int, int]]:
    """Ranges that cover ``count`` items: each fills most of a batch, or is one item."""
    begin = 0
    while begin < count:
        rest = count - begin
        size = max((size for size in replays if rest >= _LEAST_FILLED * size), default=rest)
        yield begin, min(count, begin + size)
        begin += size


def _fitting(replays: dict[int, Replay], count: int, function: Function) -> tuple[int, Function]:
    """The smallest batch with room for ``count`` items; the plain function without batches."""
    batch = min((size for size in replays if size >= count), default=count)
    return batch, replays.get(batch, function)


def _to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    copy = _copied(array, device, len(array))
    return copy.to(device, non_blocking=copy.is_pinned())


def _copied(array: npt.NDArray[Any], device: torch.device, rows: int) -> Tensor:
    """A copy on the host, from which a copy to the device is fast: zeros after the last row."""
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    is_pinned = device.type == "cuda" and array.nbytes > _LEAST_PINNED
    copy = torch.empty((rows, *array.shape[1:]), dtype=dtype, pin_memory=is_pinned)
    copy.numpy()[: len(array)] = array
    copy.numpy()[len(array) :] = 0
    return copy


def _to_numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    tensor = tensor.float().contiguous()
    if not tensor.is_cuda or tensor.nbytes <= _LEAST_PINNED:
        array: npt.NDArray[np.float32] = tensor.cpu().numpy()
        return array
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return pinned.numpy()
