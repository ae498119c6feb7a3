"""Embeddings as bytes, the same for every tier: safetensors with the features in fp16."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from model.types import ImageEmbedding


def pack(key: str, embedding: ImageEmbedding) -> bytes:
    """Convert an embedding to bytes that hold a checksum of its values and of its key.

    Args:
        key: the key that the embedding is kept under.
        embedding: features of any float type and shape.
    """
    features = np.ascontiguousarray(embedding.features, dtype=np.float16)
    size = np.array(embedding.original_size, dtype=np.int64)
    version = np.frombuffer(embedding.image_version.encode(), dtype=np.uint8)
    return safetensors.numpy.save(
        {
            "features": features,
            "original_size": size,
            "image_version": version,
            "checksum": _checksum(key, features, size, version),
        }
    )


def unpack(key: str, data: bytes) -> ImageEmbedding:
    """Convert the bytes of :func:`pack` to an embedding.

    Returns:
        The embedding, with finite fp16 features and a size (H, W) of at least 1 x 1.

    Raises:
        ValueError: the bytes are damaged, cut off, of another key, or no possible embedding.
    """
    try:
        arrays = safetensors.numpy.load(data)
        features, size = arrays["features"], arrays["original_size"]
        version = arrays["image_version"]
        if not np.array_equal(arrays["checksum"], _checksum(key, features, size, version)):
            raise ValueError("the checksum is wrong")
        if features.dtype != np.float16 or not np.isfinite(features).all():
            raise ValueError("the features are not finite fp16 numbers")
        if size.shape != (2,) or size.dtype != np.int64 or size.min() < 1:
            raise ValueError("the image size is not two numbers from 1 on")
        image_version = version.tobytes().decode()
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"damaged or foreign: {error}") from error
    height, width = size.tolist()
    return ImageEmbedding(features, (height, width), image_version)


def _checksum(key: str, *arrays: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    checksum = zlib.crc32(key.encode())
    for array in arrays:
        checksum = zlib.crc32(array.data, checksum)
    return np.array([checksum], dtype=np.uint32)
