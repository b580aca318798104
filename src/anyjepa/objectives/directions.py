"""Random directions along which many-dimensional samples are looked at."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.randomness import derive_seed


def random_directions(dim: int, slices: int, *, seed: int = 0, step: int = 0) -> Float[Tensor, "D L"]:
    """Columns of length 1, uniform on the sphere: a pure function of (seed, step), equal on all processes and devices.

    Args:
        dim: width D.
        slices: number of directions L.
        seed: seed of the run.
        step: optimizer step; each step looks along new directions, each micro-batch of it along the same.

    Returns:
        (D, L) in float32 on the CPU: generators of other devices draw other numbers.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "regularizer/directions", step))
    drawn = torch.randn(dim, slices, generator=generator)
    return drawn / drawn.norm(dim=0)
