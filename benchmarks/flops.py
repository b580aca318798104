"""Work of a step counted by hand, and the fastest matrix product of the machine."""

from __future__ import annotations

import argparse
import time

import torch

from programs import Setting


def synchronize(options: argparse.Namespace) -> None:
    if options.device == "cuda":
        torch.cuda.synchronize()


def flops(s: Setting, kept: float, asked: float, wanted: float, *, pruned: bool) -> float:
    """FLOPs of a step; backward counts twice the forward. ``pruned``: without the work whose result nobody reads."""
    n, d, w, m = s.tokens, s.dim, s.width, 4

    def block(tokens: float, width: int, queries: float, projected: float) -> float:
        return 6 * projected * width**2 + 4 * queries * tokens * width + 18 * queries * width**2

    patches = 2 * d * 3 * s.patch**2
    last = wanted if pruned else n
    target = s.batch * (n * patches + (s.depth - 1) * block(n, d, n, n) + block(n, d, last, n))
    context = s.batch * (3 * s.depth * block(kept, d, kept, kept) + patches * 2 * (kept if pruned else n))
    length = kept + asked
    predictor = s.batch * m * (s.predictor_depth - 2) * block(length, w, length, length)
    # First block: each context and each position projected once. Last block: asked tokens only.
    first = (s.batch * kept + n) / (s.batch * m) if pruned else length
    predictor += s.batch * m * block(length, w, length, first)
    predictor += s.batch * m * block(length, w, asked if pruned else length, length)
    predictor += 2 * d * w * s.batch * (kept + m * asked)
    return target + context + 3 * predictor


def peak(options: argparse.Namespace) -> float:
    """FLOP/s of the fastest matrix product found: PyTorch's own, and the one that our blocks use."""
    from anyjepa.nn.linear import Linear

    if options.peak_tflops:
        return options.peak_tflops * 1e12
    side = 8192 if options.device == "cuda" else 2048
    dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
    a, layer = torch.randn(side, side, device=options.device, dtype=dtype), Linear(side, side, bias=False)
    layer = layer.to(options.device, dtype)
    best = float("inf")
    with torch.no_grad():
        for product in [lambda: a @ a, lambda: layer(a)] * 8:
            synchronize(options)
            clock = time.process_time if options.clock == "cpu" else time.perf_counter
            start = clock()
            product()
            synchronize(options)
            best = min(best, clock() - start)
    return 2 * side**3 / best
