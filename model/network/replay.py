"""Functions of tensors that a GPU repeats without waiting for the host.

A network of many small layers needs more time to be launched than to be computed. A CUDA graph
records all kernels of a function once and launches them together. Shapes and types are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]
Pool = Any  # torch.cuda.graph_pool_handle() makes one, and torch keeps its type to itself

# cuDNN and cuBLAS choose kernels and take memory in the first runs, which no graph may record.
_WARM_UPS = 3


class Replay:
    """A function whose inputs always have the same shapes.

    On CUDA, the function is recorded once, on the current stream, which must not be the default
    stream. Elsewhere the function is called each time.

    Args:
        function: tensors to tensors. Its kernels must not depend on values of the inputs.
        inputs: examples. Their values do not matter.
        pool: the memory that recorded functions share. Only one of them may run at a time.
    """

    def __init__(
        self, function: Function, inputs: Sequence[Tensor], pool: Pool | None = None
    ) -> None:
        self._function = function
        self._inputs = [tensor.clone() for tensor in inputs]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._outputs: tuple[Tensor, ...] = ()
        if self._inputs[0].is_cuda:
            self._record(pool)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the function. The outputs are valid until the next call.

        Args:
            inputs: with the shapes of the examples, on any device.
        """
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given, non_blocking=True)
        if self._graph is None:
            return self._function(*self._inputs)
        self._graph.replay()
        return self._outputs

    def _record(self, pool: Pool | None) -> None:
        # The kernels of a graph keep the priority of the stream on which they were recorded.
        stream = torch.cuda.current_stream()
        for _ in range(_WARM_UPS):
            self._function(*self._inputs)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=stream):
            self._outputs = self._function(*self._inputs)
