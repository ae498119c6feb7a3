"""Embeddings as bytes: safetensors with the features in fp16, the same for every tier."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from model.types import ImageEmbedding


def pack(key: str, embedding: ImageEmbedding) -> bytes:
    """An embedding as bytes that prove what they are."""
    features = np.ascontiguousarray(embedding.features, dtype=np.float16)
    size = np.array(embedding.original_size, dtype=np.int64)
    return safetensors.numpy.save(
        {"features": features, "original_size": size, "checksum": _checksum(key, features, size)}
    )


def unpack(key: str, data: bytes) -> ImageEmbedding:
    """The embedding that :func:`pack` made bytes of.

    Raises:
        ValueError: they are damaged, cut off, or of another key.
    """
    try:
        arrays = safetensors.numpy.load(data)
        features, size = arrays["features"], arrays["original_size"]
        if not np.array_equal(arrays["checksum"], _checksum(key, features, size)):
            raise ValueError("the checksum is wrong")
        height, width = size.tolist()
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"damaged or foreign: {error}") from error
    return ImageEmbedding(features, (height, width))


def _checksum(key: str, *arrays: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    checksum = zlib.crc32(key.encode())
    for array in arrays:
        checksum = zlib.crc32(array.data, checksum)
    return np.array([checksum], dtype=np.uint32)
