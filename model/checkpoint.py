"""Reads a checkpoint file of either format into numpy arrays, without torch.

Two formats, told apart by content: the published one (a PyTorch file of a flat state dict under
the original names) and our own (safetensors under our names, the configuration in its metadata).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from model.architecture import MobileSAMConfig, Shape, decoder_shapes, tensor_shapes
from model.torch_file import read_state_dict

LARGEST_FILE = 1 << 29  # bytes; the published file has 41 million
_NAMED_AT_MOST = 20  # wrong tensors of one kind
_COUNT = ".num_batches_tracked"  # of BatchNorms; nothing uses the counts

# Of TinyViT's classifier, which MobileSAM's file still holds and nothing uses.
_CLASSIFIER = re.compile(r"image_encoder\.(head|norm_head)\.")

# Published name -> ours, on the trunk's part of the key. timm puts the downsampling at the start
# of the next stage and not at the end of the one before, hence the k + 1.
_TRUNK_RULES = (
    (re.compile(r"^patch_embed\.seq\.0\."), lambda m: "patch_embed.conv1."),
    (re.compile(r"^patch_embed\.seq\.2\."), lambda m: "patch_embed.conv2."),
    (
        re.compile(r"^layers\.(\d)\.downsample\."),
        lambda m: f"stages.{int(m.group(1)) + 1}.downsample.",
    ),
    (re.compile(r"^layers\.(\d)\."), lambda m: f"stages.{m.group(1)}."),
    (re.compile(r"\.c\."), lambda m: ".conv."),
)

Arrays = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Parameters:
    """What a checkpoint file holds.

    Attributes:
        config: sizes of the network.
        arrays: the tensors of ``tensor_shapes(config)``, by our names.
    """

    config: MobileSAMConfig
    arrays: Arrays


def read_parameters(path: Path) -> Parameters:
    """Read a checkpoint of either format.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is no checkpoint of this architecture; says why in one sentence.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(
            f"{path} has {size >> 20} MiB, and a checkpoint of MobileSAM has at most"
            f" {LARGEST_FILE >> 20}."
        )
    with open(path, "rb") as file:
        head = file.read(9)
    if head.startswith(b"PK"):
        config, tensors = MobileSAMConfig(), _read_published(path)
    elif head[8:] == b"{":  # safetensors: eight bytes of length, then JSON
        config, tensors = _read_own(path)
    else:
        raise ValueError(
            f"{path} is neither a PyTorch nor a safetensors checkpoint (it begins with"
            f" {head[:8]!r}): download it again."
        )
    return Parameters(
        config, _checked(f"{path} is no MobileSAM checkpoint", tensors, tensor_shapes(config))
    )


def decoder_parameters(config: MobileSAMConfig, arrays: Arrays) -> Parameters:
    """A decoder for a network of these sizes. It has no image encoder.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape, or not finite.
    """
    return Parameters(config, _checked("the decoder does not fit", arrays, decoder_shapes(config)))


def read_metadata(path: Path) -> dict[str, str]:
    """What a file of our own format records of itself; ``config`` is JSON.

    Raises:
        ValueError: the file is of another format or broken.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is no checkpoint of this project ({error}).") from error


def _read_published(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        published = read_state_dict(path)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as a PyTorch checkpoint, since it {error}: download it again."
        ) from error
    return {_rename(key): value for key, value in published.items() if not _CLASSIFIER.match(key)}


def _rename(key: str) -> str:
    """The key of the published checkpoint under our name."""
    prefix = "image_encoder."
    if not key.startswith(prefix) or key.startswith("image_encoder.neck."):
        return key
    trunk_key = key.removeprefix(prefix)
    for pattern, replacement in _TRUNK_RULES:
        trunk_key = pattern.sub(replacement, trunk_key)
    return f"{prefix}trunk.{trunk_key}"


def _read_own(path: Path) -> tuple[MobileSAMConfig, dict[str, npt.NDArray[Any]]]:
    try:
        stored = json.loads(read_metadata(path)["config"])
        sizes: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
        }
        config = MobileSAMConfig(**sizes)
        with safe_open(path, framework="numpy") as file:
            return config, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise ValueError(f"{path} is no checkpoint of this project ({error!r}).") from error
    except ValueError as error:
        raise ValueError(f"{path} is no checkpoint of this project: {error}") from error


def _checked(
    complaint: str, tensors: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, Shape]
) -> Arrays:
    """The expected tensors as float32.

    Nothing is converted before everything has the expected shape: what a file makes this process
    allocate is bounded by that.
    """
    tensors = {key: value for key, value in tensors.items() if not key.endswith(_COUNT)}
    complaints = [
        _listed("missing", expected.keys() - tensors.keys()),
        _listed("unknown", tensors.keys() - expected.keys()),
        _listed(
            "of another shape",
            {
                f"{key} ({_shown(tensors[key].shape)} and not {_shown(shape)})"
                for key, shape in expected.items()
                if key in tensors and tensors[key].shape != shape
            },
        ),
    ]
    wrong = "; ".join(filter(None, complaints))
    if wrong:
        raise ValueError(f"{complaint}: {wrong}.")
    arrays = {key: np.ascontiguousarray(tensors[key], np.float32) for key in expected}
    broken = _listed("not finite", {key for key, value in arrays.items() if not _is_finite(value)})
    if broken:
        raise ValueError(f"{complaint}: {broken}.")
    return arrays


def _listed(fault: str, names: set[str]) -> str:
    """``3 tensors are missing: a, b, c``, or nothing where there is no name."""
    if not names:
        return ""
    count = "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"
    shown = [ascii(name)[1:101].removesuffix("'") for name in sorted(names)[:_NAMED_AT_MOST]]
    more = ["..."] if len(names) > _NAMED_AT_MOST else []
    return f"{count} {fault}: {', '.join([*shown, *more])}"


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def _is_finite(array: npt.NDArray[np.float32]) -> bool:
    return bool(np.isfinite(array).all())
