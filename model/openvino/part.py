"""A part of the network: the tensors whose names begin with the name of the part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.checkpoint import Arrays

Array = npt.NDArray[np.float32]

_BATCH_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Part:
    """``part["attn"]["qkv"].weight`` is the tensor ``<part>.attn.qkv.weight``."""

    arrays: Arrays
    name: str

    def __getitem__(self, name: str | int) -> Part:
        return Part(self.arrays, f"{self.name}.{name}")

    def array(self, name: str) -> Array:
        """The tensor of this name."""
        return self.arrays[f"{self.name}.{name}"]

    @property
    def weight(self) -> Array:
        """Of a linear layer: width_out x width_in. Of a convolution: out x in x rows x columns."""
        return self.array("weight")

    @property
    def bias(self) -> Array:
        """One number for each output."""
        return self.array("bias")


def with_batch_norm(part: Part) -> tuple[Array, Array]:
    """Weight and bias of a convolution that does the work of the BatchNorm behind it too."""
    norm = part["bn"]
    scale = norm.weight / np.sqrt(norm.array("running_var") + np.float32(_BATCH_NORM_EPSILON))
    weight = part["conv"].weight * scale[:, None, None, None]
    return weight, norm.bias - norm.array("running_mean") * scale


def with_norm(norm: Part, linear: Part) -> tuple[Array, Array]:
    """Weight and bias of a linear layer that does the scaling of the LayerNorm before it too."""
    return linear.weight * norm.weight, linear.bias + linear.weight @ norm.bias
