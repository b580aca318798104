"""The linear layer of all blocks: ``nn.Linear`` with the steps that follow it, and the faster product on CPUs.

Two thirds of a training step on a CPU are the products x W and g W^T. PyTorch hands them to MKL, which on AMD processors stops at
about 88 % of what oneDNN reaches on the same core (97 against 108 GFLOP/s per core on Zen 4; benchmarks/README.md). oneDNN comes
with PyTorch and also adds the bias, a residual or a GELU while the result is still in the cache. The values agree to rounding.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST = 1 << 22
"""Multiplications below which the call itself costs more than oneDNN saves."""


class Linear(nn.Linear):
    """``nn.Linear``, optionally followed by an exact GELU or by the addition of a residual. Same parameters and names."""

    def forward(
        self,
        x: Float[Tensor, "*rows D"],
        *,
        residual: Float[Tensor, "*rows E"] | None = None,
        gelu: bool = False,
    ) -> Float[Tensor, "*rows E"]:
        """``x W^T + b``, then GELU if ``gelu``, or plus ``residual``.

        Args:
            x: (..., D).
            residual: (..., E), added to the result.
            gelu: apply the exact (erf) GELU; not together with ``residual``.
        """
        if _onednn(x, self.weight):
            inputs = (x, self.weight, self.bias, residual)
            if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
                y = _Linear.apply(*inputs)
                return (
                    F.gelu(y) if gelu else y
                )  # backward needs what enters the GELU, so it is not fused here
            return _product(*inputs, "gelu" if gelu else "none")
        y = super().forward(x)
        if gelu:
            return F.gelu(y)
        return y if residual is None else residual + y


def _onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can and should compute ``x W^T``: plain fp32 on a CPU, and large enough."""
    return (
        x.device.type == "cpu"
        and x.dtype is weight.dtype is torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and x.numel() * weight.shape[0] >= SMALLEST
        and type(weight) in (nn.Parameter, Tensor)
        and _available()
    )


@lru_cache(maxsize=1)
def _available() -> bool:
    """Whether this build of PyTorch has the operator, with the arguments we give it: it is not part of the public interface."""
    try:
        x = torch.ones(1, 1)
        return (
            _product(x, x, None, x, "none").item() == 2.0 and _product(x, x, x[0], None, "none").item() == 2.0
        )
    except (AttributeError, RuntimeError, TypeError):
        return False


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, after: str) -> Tensor:
    op = torch.ops.mkldnn._linear_pointwise
    if residual is not None:
        return op.binary(x, residual, weight, bias, "add")
    return op(x, weight, bias, after, [], "none")


class _Linear(torch.autograd.Function):
    """``x W^T + b + residual`` by oneDNN, and its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        return _product(x, weight, bias, residual, "none")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias, need_residual = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            # The same function again, so that a gradient of the gradient exists.
            _Linear.apply(grad, weight.t(), None, None) if need_x else None,
            rows.t() @ x.flatten(0, -2) if need_weight else None,  # the one product where MKL is not behind
            rows.sum(0) if need_bias else None,
            grad if need_residual else None,
        )
