"""The file of a learnt decoder: the tensors behind the image encoder, and where they come from.

The image encoder is not in the file. A learnt decoder works on the embeddings of its parent, the
checkpoint that it was learnt from, and on no others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from model.architecture import DECODER_PARTS
from model.checkpoint import Arrays

LARGEST_FILE = 1 << 28  # bytes; the decoder of the published checkpoint has 16 million

_KIND = "decoder of a project"  # tells the file from other safetensors files
_RECORD = ("parent", "data_hash", "scores", "created")
_HEADER_LENGTH = 8  # bytes that hold the length of the header of a safetensors file


@dataclass(frozen=True)
class DecoderRecord:
    """Where a learnt decoder comes from.

    Attributes:
        parent: the fingerprint of the checkpoint that it was learnt from.
        data_hash: a hash of the annotations that it was learnt from.
        scores: what was measured when it was learnt. Everything in it can be written as JSON.
        created: when it was learnt, ISO 8601 with a time zone.
    """

    parent: str
    data_hash: str
    scores: Mapping[str, Any]
    created: str


@dataclass(frozen=True)
class LearntDecoder:
    """A learnt decoder.

    Attributes:
        arrays: the tensors by our names, float32. Those of ``prompt_encoder`` and ``mask_decoder``.
        record: where they come from.
    """

    arrays: Arrays
    record: DecoderRecord


def pack(decoder: LearntDecoder) -> bytes:
    """Convert a learnt decoder to the bytes of its file.

    Raises:
        ValueError: a tensor belongs to the image encoder, or a value is no finite number.
    """
    arrays = {
        name: np.ascontiguousarray(array, dtype=np.float32)
        for name, array in decoder.arrays.items()
    }
    _check(arrays)
    record = {**asdict(decoder.record), "scores": json.dumps(decoder.record.scores)}
    metadata = {"kind": _KIND, "sha256": _digest(arrays), **record}
    return safetensors.numpy.save(arrays, metadata)


def unpack(data: bytes) -> LearntDecoder:
    """Convert the bytes of a file to the learnt decoder.

    Raises:
        ValueError: the bytes are damaged, cut off, or no learnt decoder. The message begins with a
            verb, for a sentence about the file.
    """
    try:
        arrays = safetensors.numpy.load(data)
        metadata = _metadata(data)
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"is damaged, or no safetensors file ({error})") from error
    if metadata.get("kind") != _KIND:
        raise ValueError("is a safetensors file, but not of a learnt decoder")
    _check(arrays)
    if metadata.get("sha256") != _digest(arrays):
        raise ValueError("is damaged: its checksum is wrong")
    return LearntDecoder(arrays, _record(metadata))


def _record(metadata: Mapping[str, str]) -> DecoderRecord:
    try:
        values: dict[str, Any] = {name: metadata[name] for name in _RECORD}
        scores = json.loads(values["scores"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"does not say where it comes from ({error!r})") from error
    if not isinstance(scores, dict):
        raise ValueError("has scores that are no JSON object")
    return DecoderRecord(**{**values, "scores": scores})


def _metadata(data: bytes) -> dict[str, str]:
    end = _HEADER_LENGTH + int.from_bytes(data[:_HEADER_LENGTH], "little")
    header = json.loads(data[_HEADER_LENGTH:end])
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata


def _check(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    foreign = [name for name in arrays if not name.startswith(DECODER_PARTS)]
    if foreign or not arrays:
        names = ", ".join(ascii(name)[:100] for name in sorted(foreign)[:5])
        raise ValueError(f"holds tensors that no decoder has: {names}" if names else "is empty")
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(
                f"holds values that are no finite float32 numbers: {ascii(name)[:100]}"
            )


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape}\n".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()
