"""SIGReg: the samples shall be standard normal along every direction (Balestriero, LeCun: LeJEPA, arXiv 2511.08544)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.objectives.across import count_across, sum_across


def sigreg(
    z: Float[Tensor, "S D"], directions: Float[Tensor, "D L"], *, knots: int = 17, t_max: float = 3.0
) -> Float[Tensor, ""]:
    """Mean over directions a of the Epps-Pulley statistic of the samples' projections a.z:

        n * integral of |mean(exp(i t a.z)) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt,    n samples on all processes.

    The statistic grows with n, so the weight that suits a batch also depends on its size. For standard normal samples its mean
    does not: it is the integral of (1 - exp(-t^2)) exp(-t^2 / 2).

    Where all samples are equal the gradients of all of them are equal too: they move together, none leaves the others. A
    distance term or noise has to part them first.

    Args:
        z: S samples of width D; their mean and scale count as well. With one sample on all processes the value is 0.
        directions: L unit columns.
        knots: points of the trapezoid rule on [0, t_max]; the integrand is even.
        t_max: end of the integral, in units of the inverse standard deviation.
    """
    n = count_across(z)
    gap = t_max / (knots - 1)
    t = gap * torch.arange(1, knots, dtype=z.dtype, device=z.device)  # both sides agree at t = 0
    window = torch.exp(-0.5 * t.square())
    weights = 2 * gap * window
    weights[-1] /= 2
    ecf = sum_across(_Waves.apply(z @ directions, gap, knots - 1)) / n
    misfit = (ecf[..., 0] - window[:, None]).square() + ecf[..., 1].square()
    return n * (weights @ misfit).mean() * (n > 1)


class _Waves(torch.autograd.Function):
    """Sums over the samples of exp(i k gap p), k = 1..top: (S, L) -> (top, L, 2), real and imaginary part.

    The powers of one complex exponential, never (S, L, top) at a time; forward and backward hold three tensors (S, L).
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, gap: float, top: int) -> Tensor:
        wave = torch.polar(torch.ones_like(p), gap * p)
        ctx.save_for_backward(wave)
        ctx.gap = gap
        power = wave.clone()
        sums = [power.sum(dim=0)]
        for _ in range(1, top):
            sums.append(power.mul_(wave).sum(dim=0))
        return torch.view_as_real(torch.stack(sums))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (wave,) = ctx.saved_tensors
        # d/dp = -gap * imaginary part of the polynomial sum_k k conj(g_k) wave^k, by Horner's rule.
        g = torch.view_as_complex(gradient.contiguous()).conj()
        polynomial = torch.zeros_like(wave)
        for k in range(len(g), 0, -1):
            polynomial.add_(k * g[k - 1]).mul_(wave)
        return -ctx.gap * polynomial.imag, None, None
