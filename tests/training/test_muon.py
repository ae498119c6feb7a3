"""Muon, checked against torch's own, which takes one matrix after the other."""

import torch
from torch import nn

from training.muon import Muon, orthogonalised

SHAPES = [(8, 24), (24, 8), (8, 24), (16, 16)]


def matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def test_it_steps_as_torchs_own() -> None:
    ours, theirs = matrices(), matrices()
    rate = torch.tensor(0.02)
    own = Muon(ours, rate, weight_decay=0.05, momentum=0.95)
    reference = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        own.step()
        reference.step()
    for mine, other, start in zip(ours, theirs, matrices(), strict=True):
        moved = (other - start).norm()
        assert (mine - other).norm() < 0.05 * moved  # both count in bf16


def test_the_rate_may_change_between_steps() -> None:
    (matrix, *_) = matrices()
    rate = torch.zeros(())
    optimizer = Muon([matrix], rate, weight_decay=0.05, momentum=0.95)
    before = matrix.detach().clone()
    matrix.grad = torch.ones_like(matrix)
    optimizer.step()
    assert torch.equal(matrix, before)
    rate.fill_(0.1)
    optimizer.step()
    assert not torch.equal(matrix, before)


def test_singular_values_become_about_one() -> None:
    generator = torch.Generator().manual_seed(2)
    for shape in ((5, 12, 30), (5, 30, 12)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape, generator=generator)))
        assert values.min() > 0.5 and values.max() < 1.4
