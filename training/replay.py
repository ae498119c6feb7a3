"""A training step as one CUDA graph.

A step of a network this small has thousands of kernels, and starting them one by one takes longer
than they run. A graph starts them all at once. It reads its inputs from fixed places and repeats
exactly what was recorded, so nothing in the function may depend on a value.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_CALLS_BEFORE = 3  # optimizers and libraries set themselves up in the first calls


class Replay:
    """Calls a function; on CUDA, all but its first calls replay a recorded graph.

    Args:
        function: takes tensors, whose shapes are the same in every call, and returns a tensor.
        forget: is called before the recording; leaves no gradient, so that the recorded function
            makes new ones in the graph's own memory.
    """

    def __init__(self, function: Callable[..., Tensor], forget: Callable[[], None]) -> None:
        self._function = function
        self._forget = forget
        self._inputs: tuple[Tensor, ...] = ()
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Tensor | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's result; with a graph, valid until the next call."""
        if not inputs[0].is_cuda:
            self._forget()
            return self._function(*inputs)
        return self._on_cuda(inputs)

    def _on_cuda(self, inputs: tuple[Tensor, ...]) -> Tensor:
        if not self._inputs:
            self._inputs = tuple(tensor.clone() for tensor in inputs)
        for kept, tensor in zip(self._inputs, inputs, strict=True):
            kept.copy_(tensor)
        self._calls += 1
        if self._calls <= _CALLS_BEFORE:
            return self._beside()
        if self._graph is None:
            self._record()
        assert self._graph is not None and self._result is not None
        self._graph.replay()
        return self._result

    def _beside(self) -> Tensor:
        """A call on a stream of its own, as CUDA graphs demand of the calls before them."""
        self._forget()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self._function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _record(self) -> None:
        self._forget()
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = self._function(*self._inputs)
