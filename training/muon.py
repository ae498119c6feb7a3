"""Muon, with the matrices of one shape taken together.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). torch's own takes
one matrix after the other, which on a GPU is mostly waiting: the matrices here are small. The
length of a step is that of AdamW, so both have one learning rate: Liu et al., "Muon is Scalable
for LLM Training" (2025), section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration
_ITERATIONS = 5
_RMS = 0.2  # of a step of AdamW, in learning rates


class Muon(torch.optim.Optimizer):
    """Steps whose singular values are all about 1.

    Args:
        parameters: matrices. Their gradients are needed at every step.
        lr: the learning rate. As a tensor it can be changed inside a CUDA graph.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: Tensor, weight_decay: float, momentum: float
    ) -> None:
        by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in parameters:
            by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
        groups = [{"params": group} for group in by_shape.values()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for group in self.param_groups:  # made here, and not inside a CUDA graph
            first = group["params"][0]
            self.state[first]["momentum"] = torch.zeros(
                len(group["params"]), *first.shape, device=first.device
            )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change all matrices by their gradients."""
        for group in self.param_groups:
            matrices = group["params"]
            gradients = torch.stack([matrix.grad for matrix in matrices])
            average = self.state[matrices[0]]["momentum"]
            average.lerp_(gradients, 1 - group["momentum"])
            ahead = gradients.lerp(average, group["momentum"])  # Nesterov
            rows, columns = matrices[0].shape
            length = group["lr"] * (_RMS * max(rows, columns) ** 0.5)
            steps = orthogonalised(ahead) * length
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(matrices, list(steps.unbind()))


def orthogonalised(matrices: Tensor) -> Tensor:
    """N x rows x columns with the same singular vectors, and singular values of about 1."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    wide = (matrices.mT if is_tall else matrices).bfloat16()
    wide = wide / wide.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = wide @ wide.mT
        wide = a * wide + (b * square + c * square @ square) @ wide
    result: Tensor = (wide.mT if is_tall else wide).float()
    return result
