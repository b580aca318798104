"""Gradient descent on whole matrices: what the equations of single features are the theory of.

dL/dV = R W^T,  dL/dW = V^T R,     R = V W Sxx - W Syx (JEPA) or V W Sxx - Syx (MAE)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from anyjepa.errors import ConfigError
from anyjepa.theory.families import Family, Pairs
from anyjepa.theory.modes import Objective

Matrix = Float[np.ndarray, "d d"]
Layers = list[np.ndarray]


@dataclass(frozen=True, eq=False)
class Descent:
    """What a descent went through, and where it ended.

    Attributes:
        times: (T,) step size times number of steps.
        amplitudes: (T, d) norm of W on each feature.
        layers: the L matrices of the encoder at the end, the first one first.
        predictor: V at the end.
    """

    times: Float[np.ndarray, "T"]
    amplitudes: Float[np.ndarray, "T d"]
    layers: Layers
    predictor: Matrix

    @property
    def encoder(self) -> Matrix:
        """W = W_L ... W_1 at the end."""
        return product(self.layers)

    def critical_times(self, levels: ArrayLike) -> Float[np.ndarray, "d"]:
        """First time at which each amplitude is at its level, between two records on a line; infinity where it never is."""
        levels = np.broadcast_to(np.asarray(levels, dtype=np.float64), self.amplitudes.shape[1:])
        found = np.full(levels.shape, np.inf)
        for i, (curve, level) in enumerate(zip(self.amplitudes.T, levels, strict=True)):
            above = np.flatnonzero(curve >= level)
            if len(above):
                k = max(1, int(above[0]))
                found[i] = np.interp(level, curve[k - 1 : k + 1], self.times[k - 1 : k + 1])
        return found


def product(layers: Layers) -> Matrix:
    """W_L ... W_1 of the layers W_1, ..., W_L."""
    w = layers[0]
    for layer in layers[1:]:
        w = layer @ w
    return w


def aligned_start(
    objective: Objective, depth: int, d: int, start: float, generator: np.random.Generator
) -> tuple[Layers, Matrix]:
    """Layers start^(1/L) times random orthogonal matrices, and the predictor with which the features decouple.

    With U the product of the orthogonal matrices, V is start^(1/L) I for a JEPA and start^(1/L) U^T for an MAE. With any
    other V features are delayed or stall.
    """
    if depth < 1 or not start > 0:
        raise ConfigError(f"expected depth >= 1 and start > 0, got depth={depth}, start={start}")
    gain = start ** (1 / depth)
    turns = [_orthogonal(d, generator) for _ in range(depth)]
    v = np.eye(d) if objective == "jepa" else product(turns).T
    return [gain * turn for turn in turns], gain * v


def gradients(
    objective: Objective,
    layers: Layers,
    predictor: Matrix,
    sxx: Matrix,
    syx: Matrix,
    syy: Matrix | None = None,
) -> tuple[Layers, Matrix]:
    """Gradients of the loss with respect to the layers and to the predictor.

    Args:
        objective: which loss.
        layers: W_1, ..., W_L.
        predictor: V.
        sxx, syx: E[x x^T] and E[y x^T].
        syy: E[y y^T]; when given, the targets of a JEPA are not held fixed: the gradient also flows through W y.
    """
    # below[a] = W_a ... W_1, above = W_L ... W_(a+1)
    below = [np.eye(len(predictor))]
    for layer in layers:
        below.append(layer @ below[-1])
    w = below[-1]
    residual = predictor @ w @ sxx - (w @ syx if objective == "jepa" else syx)
    of_encoder = predictor.T @ residual
    if syy is not None and objective == "jepa":
        of_encoder = of_encoder - (predictor @ w @ syx.T - w @ syy)
    found: Layers = []
    for layer, under in zip(reversed(layers), reversed(below[:-1]), strict=True):
        found.append(of_encoder @ under.T)
        of_encoder = layer.T @ of_encoder
    return found[::-1], residual @ w.T


def descend(
    objective: Objective,
    data: Pairs | Family,
    depth: int,
    *,
    duration: float,
    start: float = 0.01,
    step: float = 0.02,
    batch: int | None = None,
    stop_gradient: bool = True,
    generator: np.random.Generator | None = None,
    every: int = 1,
) -> Descent:
    """Descend from an aligned start.

    Args:
        objective: which loss.
        data: second moments, or a family that also gives samples.
        depth: layers of the encoder.
        duration: time to stop at.
        start: amplitude of every feature at time 0.
        step: step size; about 0.02 / variance follows the flow closely.
        batch: fresh samples per step, in place of the expectation; needs a family.
        stop_gradient: hold the targets of a JEPA fixed.
        generator: for the start and the samples; None: a fixed one.
        every: steps between two records.

    Raises:
        ConfigError: ``batch`` is given without a family.
    """
    generator = np.random.default_rng(0) if generator is None else generator
    pairs = data if isinstance(data, Pairs) else data.pairs()
    if batch is not None and isinstance(data, Pairs):
        raise ConfigError(
            "batch needs a family that gives samples, e.g. StaticViews, not second moments alone"
        )
    sxx, syx, syy = pairs.matrices()
    features = pairs.features
    layers, predictor = aligned_start(objective, depth, len(features), start, generator)
    times, amplitudes = [0.0], [_norms(layers, features)]
    for k in range(1, round(duration / step) + 1):
        if batch is not None and not isinstance(data, Pairs):
            x, y = data.sample(batch, generator)
            sxx, syx, syy = x.T @ x / batch, y.T @ x / batch, y.T @ y / batch
        of_layers, of_predictor = gradients(
            objective, layers, predictor, sxx, syx, None if stop_gradient else syy
        )
        layers = [layer - step * g for layer, g in zip(layers, of_layers, strict=True)]
        predictor = predictor - step * of_predictor
        if k % every == 0:
            times.append(k * step)
            amplitudes.append(_norms(layers, features))
    return Descent(np.array(times), np.array(amplitudes), layers, predictor)


def conserved(layers: Layers, predictor: Matrix) -> float:
    """How far gradient descent is from what gradient flow conserves, relative to the largest layer.

    The differences of neighbouring layers, A^T A - B B^T for A after B, stay as they were: zero after an aligned start.
    """
    whole = [*layers, predictor]
    gaps = [np.abs(a.T @ a - b @ b.T).max() for b, a in pairwise(whole)]
    return float(max(gaps) / max(np.abs(a.T @ a).max() for a in whole))


def _norms(layers: Layers, features: np.ndarray) -> np.ndarray:
    return np.linalg.norm(product(layers) @ features, axis=0)


def _orthogonal(d: int, generator: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(generator.normal(size=(d, d)))
    return q * np.sign(np.diag(r))
