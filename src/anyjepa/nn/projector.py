"""The small network between representations and the space in which a loss compares them."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.nn.linear import Linear


class Projector(nn.Module):
    """Two hidden layers, each normalised and rectified, and a linear last one.

    Args:
        dim: width of the input.
        hidden: width of the hidden layers; they have no bias, which the normalisation would take off again.
        out: width of the output.
        norm: ``"batch"``: over all samples of the call on this process (running statistics in evaluation), or ``"layer"``.
    """

    def __init__(self, dim: int, hidden: int, out: int, norm: Literal["batch", "layer"] = "batch") -> None:
        super().__init__()
        make = nn.BatchNorm1d if norm == "batch" else nn.LayerNorm
        self.layers = nn.Sequential(
            Linear(dim, hidden, bias=False), make(hidden), nn.ReLU(),
            Linear(hidden, hidden, bias=False), make(hidden), nn.ReLU(),
            Linear(hidden, out),
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "S D"]) -> Float[Tensor, "S P"]:
        """Projections of S samples; with batch statistics in training at least 2."""
        return self.layers(x)
