"""Gradients averaged over processes.

Two processes of one thread each train half as long again per hour as one process of two threads:
the network is so small that two threads spend much of their time waiting for each other, the more
so when other programs want the same cores.
"""

from __future__ import annotations

import multiprocessing

import torch
from torch import Tensor, nn

_TIMEOUT_S = 1200.0  # a process whose partner died must end too; saving a state may take a while


class GradientExchange:
    """Shared memory in which each process leaves its gradients for the others.

    Args:
        processes: how many take part, each with the same network.
        network: for the number of its weights.
    """

    def __init__(self, processes: int, network: nn.Module) -> None:
        numbers = sum(parameter.numel() for parameter in network.parameters())
        # Written in turn, so that nobody overwrites what a slower process still reads.
        self._slots = torch.zeros(2, processes, numbers + 1).share_memory_()  # type: ignore[no-untyped-call]
        self._barrier = multiprocessing.get_context("spawn").Barrier(processes)

    def average(self, rank: int, turn: int, network: nn.Module, seconds: float) -> float:
        """Replace the gradients by their mean over all processes; waits for all of them.

        Args:
            rank: of this process.
            turn: number of the step, the same in all processes.
            network: whose gradients are meant.
            seconds: this process's clock.

        Returns:
            The first process's clock, by which all decide alike when to go on to what is next.
        """
        slots: Tensor = self._slots[turn % 2]
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = [gradient.flatten() for gradient in gradients]
        torch.cat([*flat, torch.tensor([seconds])], out=slots[rank])
        self._barrier.wait(_TIMEOUT_S)
        means = slots.mean(0).split(  # type: ignore[no-untyped-call]
            [*map(len, flat), 1]
        )
        for gradient, mean in zip(gradients, means, strict=False):
            gradient.copy_(mean.view_as(gradient))
        return float(slots[0, -1])
