"""Reads and writes checkpoint files.

Two formats: the published one (a PyTorch file of a flat state dict under the original names) and
our own (safetensors under our names, the configuration in its metadata), told apart by content.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.network.image_encoder import fuse_batch_norms
from model.network.mobile_sam import MobileSAM, MobileSAMConfig

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


def load_network(path: Path) -> MobileSAM:
    """Read a checkpoint of either format into a network that is ready for inference.

    The weights are loaded before ``eval()``: timm's attention layers cache their biases on the
    first inference, and a network that had run before would keep the old ones.

    Returns:
        The network on the CPU, fp32, in eval mode, BatchNorms folded into the convolutions.

    Raises:
        ValueError: the file is no checkpoint of this architecture.
    """
    network = read_network(path)
    fuse_batch_norms(network.image_encoder)
    return network


def read_network(path: Path) -> MobileSAM:
    """The network of :func:`load_network` with its BatchNorms, slower and the same otherwise."""
    network, state_dict = _read(path)
    _check_keys(path, network, state_dict)
    network.load_state_dict(state_dict)
    network.eval()
    return network.requires_grad_(False)


def save_network(path: Path, network: MobileSAM, metadata: Mapping[str, str]) -> None:
    """Write a network, BatchNorms not folded, in our own format.

    Weights are stored in fp16 and statistics, scales and biases in fp32. The file appears
    complete or not at all.

    Args:
        metadata: what else to record, such as seed and scores. ``config`` is taken.
    """
    tensors = {
        key: (value.half() if value.is_floating_point() and value.dim() > 1 else value)
        .contiguous()
        .cpu()
        for key, value in network.state_dict().items()
    }
    config = json.dumps(dataclasses.asdict(network.config))
    _write(path, tensors, {**metadata, "config": config})


def read_metadata(path: Path) -> dict[str, str]:
    """What a file of our own format records of itself; ``config`` is JSON.

    Raises:
        ValueError: the file is of another format or broken.
    """
    return _read_tensors(path)[1]


def add_metadata(path: Path, added: Mapping[str, str]) -> None:
    """Record more in a file of our own format, or something else; its tensors stay as they are.

    Raises:
        ValueError: the file is of another format or broken.
    """
    tensors, metadata = _read_tensors(path)
    _write(path, tensors, {**metadata, **added})


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    os.close(handle)
    try:
        save_file(tensors, partial, metadata=metadata)
        os.chmod(partial, 0o644)  # mkstemp's 0600 would hide the file from other users
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _read(path: Path) -> tuple[MobileSAM, dict[str, Tensor]]:
    """A fresh network of the right configuration, and the state dict under our names."""
    with open(path, "rb") as file:
        head = file.read(9)
    if head.startswith(b"PK"):
        return MobileSAM(MobileSAMConfig()), _read_published(path)
    if head[8:] == b"{":  # safetensors: eight bytes of length, then JSON
        return _read_own(path)
    raise ValueError(
        f"{path} is neither a PyTorch nor a safetensors checkpoint (it begins with {head[:8]!r})."
        " Download it again."
    )


def _read_published(path: Path) -> dict[str, Tensor]:
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path} cannot be read as a PyTorch checkpoint ({reason}). Download it again."
        ) from error
    if not isinstance(published, dict) or not all(
        isinstance(value, Tensor) for value in published.values()
    ):
        raise ValueError(f"{path} holds no flat state dict of tensors, as mobile_sam.pt does.")
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


def _read_own(path: Path) -> tuple[MobileSAM, dict[str, Tensor]]:
    state_dict, metadata = _read_tensors(path)
    try:
        stored = json.loads(metadata["config"])
        sizes: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
        }
        network = MobileSAM(MobileSAMConfig(**sizes))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no checkpoint of this project ({error!r}).") from error
    return network, {
        key: value.float() if value.is_floating_point() else value
        for key, value in state_dict.items()
    }


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata as they are stored."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is no checkpoint of this project ({error!r}).") from error


def _check_keys(path: Path, network: MobileSAM, state_dict: dict[str, Tensor]) -> None:
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in state_dict.items()}
    wrong = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{path} is no MobileSAM checkpoint: {len(wrong)} tensors are missing, unknown or of"
            f" another shape, first {first} ({theirs.get(first)}, expected {ours.get(first)})."
        )
