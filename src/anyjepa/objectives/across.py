"""Sums and rows over all processes, so that a regularizer sees the samples of the whole batch, not of one share of it.

Both are differentiable. The adjoint of a sum over processes is a sum over processes: the gradient that reaches a sample is
that of the sum of the losses of all processes. Each process has the same regularizer, so it is ``processes`` times the wanted
one, and the mean that DDP and FSDP take of the gradients makes it exactly that of one process with the whole batch.

Without ``torch.distributed``, or with one process, all functions are the identity. With several, every process must call them
in the same order. Gradient accumulation runs one micro-batch at a time: only samples of the same micro-batch meet.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sum_across(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Sum of ``x`` over the processes; differentiable."""
    return _Sum.apply(x) if _processes() > 1 else x


def count_across(z: Float[Tensor, "S D"]) -> Float[Tensor, ""]:
    """Samples of all processes. A tensor on the device, so that nobody waits for it."""
    return sum_across(z.new_full((), len(z)))


def rows_across(z: Float[Tensor, "S D"]) -> tuple[Float[Tensor, "R D"], int]:
    """The samples of all processes, by rank; differentiable. Their numbers may differ.

    Returns:
        all rows, and the place of this process's first one among them.
    """
    if _processes() == 1:
        return z, 0
    counts = z.new_zeros(_processes(), dtype=torch.long)
    counts[dist.get_rank()] = len(z)
    dist.all_reduce(counts)
    before, after = int(counts[: dist.get_rank()].sum()), int(counts[dist.get_rank() + 1 :].sum())
    # A sum of rows that are zero elsewhere copes with uneven shares and needs no second adjoint.
    return sum_across(F.pad(z, (0, 0, before, after))), before


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Sum(torch.autograd.Function):
    """All-reduce whose adjoint is itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduce(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _all_reduce(gradient)


def _all_reduce(x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x
