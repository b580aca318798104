"""Band powers: what a decoder of EEG reads when nothing is learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

BANDS = ((0.5, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))
"""Delta, theta, alpha, beta and low gamma, in Hz."""


def band_powers(rate: float) -> Callable[[Tensor], Float[Tensor, "B F"]]:
    """Reads the logarithm of the power of each channel in each band, F = C * bands.

    Bands above half the rate, and those between two frequencies of a short window, are left out.

    Args:
        rate: samples per second.
    """

    def read(windows: Float[Tensor, "B C T"]) -> Float[Tensor, "B F"]:
        x = windows - windows.mean(dim=2, keepdim=True)
        power = torch.fft.rfft(x).abs().square()
        frequencies = torch.fft.rfftfreq(windows.shape[2], 1 / rate)
        inside = [(frequencies >= low) & (frequencies < high) for low, high in BANDS]
        # The smallest power is that of a flat channel.
        return torch.cat(
            [(power[:, :, rows].mean(dim=2) + 1e-6).log() for rows in inside if rows.any()], dim=1
        )

    return read
