"""Torch networks from and to checkpoint files. ``model/checkpoint.py`` reads the files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save

from model.checkpoint import read_metadata, read_parameters
from model.files import write_atomically
from model.network.image_encoder import fuse_batch_norms
from model.network.mobile_sam import MobileSAM


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
    parameters = read_parameters(path)
    network = MobileSAM(parameters.config)
    state_dict = {key: torch.tensor(value) for key, value in parameters.arrays.items()}
    # Not strict, as the counts of the BatchNorms are not read. All other keys were checked.
    network.load_state_dict(state_dict, strict=False)
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
        .numpy()
        for key, value in network.state_dict().items()
    }
    config = json.dumps(dataclasses.asdict(network.config))
    _write(path, tensors, {**metadata, "config": config})


def add_metadata(path: Path, added: Mapping[str, str]) -> None:
    """Record more in a file of our own format, or something else; its tensors stay as they are.

    Raises:
        ValueError: the file is of another format or broken.
    """
    metadata = read_metadata(path)
    _write(path, load_file(path), {**metadata, **added})


def _write(path: Path, tensors: dict[str, npt.NDArray[Any]], metadata: dict[str, str]) -> None:
    with write_atomically(path, mode=0o644) as file:
        file.write(save(tensors, metadata))
