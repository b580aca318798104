"""One feature alone: its plateau, its equation of motion, and the exact time at which it is learned.

From a balanced aligned start all layers of the encoder and the predictor have the same gain q, so that the encoder's
amplitude is w = q^L, and

    JEPA  dq/dt = lam q^(2L) (1 - q / rho)              w* = rho^L              v* = rho
    MAE   dq/dt = lam q^L (1 - q^(L+1) / rho)           w* = rho^(L/(L+1))      v* = rho^(1/(L+1))

The closed forms below are the integrals of dt = dq / (dq/dt) by partial fractions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from anyjepa.errors import ConfigError

Objective = Literal["jepa", "mae"]
Array = Float[np.ndarray, "*modes"]


def plateau(objective: Objective, depth: int, rho: ArrayLike) -> Array:
    """Amplitude w* at which the encoder ends. Zero for features that die (``rho`` <= 0)."""
    power = depth if objective == "jepa" else depth / (depth + 1)
    # asarray here and below: numpy makes numbers of arrays without axes
    return np.asarray(np.maximum(np.asarray(rho, dtype=np.float64), 0.0) ** power)


def predictor_plateau(objective: Objective, depth: int, rho: ArrayLike) -> Array:
    """Gain v* at which the predictor ends, the same as that of each layer of the encoder."""
    return np.asarray(plateau(objective, depth, rho) ** (1 / depth))


def rate(objective: Objective, depth: int, lam: ArrayLike, rho: ArrayLike, amplitude: ArrayLike) -> Array:
    """dw/dt of the encoder's amplitude w, for ``lam`` of either sign."""
    lam, rho, w = (np.asarray(value, dtype=np.float64) for value in (lam, rho, amplitude))
    first = 3 - 1 / depth if objective == "jepa" else 2 - 1 / depth
    return np.asarray(depth * (lam * w**first - lam / rho * w**3))


def critical_time(
    objective: Objective,
    depth: int,
    lam: ArrayLike,
    rho: ArrayLike,
    *,
    start: float = 0.01,
    share: float = 0.9,
) -> Array:
    """Exact time at which a feature reaches ``share`` of its plateau.

    Args:
        objective: which loss.
        depth: layers L of the encoder.
        lam: covariance of the feature between the views, of any shape.
        rho: its regression coefficient; ``lam / rho`` is its variance in the context view.
        start: amplitude w at time 0.
        share: of the plateau, between 0 and 1.

    Returns:
        Times in unit rate, of the common shape; infinity for features that die (``lam`` < 0).

    Raises:
        ConfigError: a feature starts above the amplitude in question, where the time is undefined, or a value is out of range.
    """
    _check(depth, start)
    lam, rho = np.broadcast_arrays(np.asarray(lam, dtype=np.float64), np.asarray(rho, dtype=np.float64))
    if not 0 < share < 1:
        raise ConfigError(f"share must lie between 0 and 1, got {share}")
    if (lam * rho <= 0).any():
        raise ConfigError("lam and rho must have the same sign and not be 0: lam / rho is a variance")
    alive = lam > 0
    level = share * plateau(objective, depth, rho)
    if (alive & (level <= start)).any():
        worst = float(level[alive].min())
        raise ConfigError(
            f"start={start:g} is not below share * plateau = {worst:.3g} (rho={rho[alive].min():.3g}, depth={depth}): the time "
            "is undefined; take a smaller start or a smaller depth"
        )
    times = np.full(lam.shape, np.inf)
    times[alive] = _elapsed(objective, depth, lam[alive], rho[alive], start, level[alive])
    return times


def learning_curve(
    objective: Objective, depth: int, lam: float, rho: float, *, start: float = 0.01, points: int = 200
) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
    """Times, and the amplitude over its plateau at these times, from the start to 99.9 %.

    Raises:
        ConfigError: as :func:`critical_time`.
    """
    critical_time(objective, depth, lam, rho, start=start, share=0.999)
    top = float(plateau(objective, depth, rho))
    # Even steps of the logit: as many points in the slow start as in the slow end.
    low, high = (np.log(s / (1 - s)) for s in (start / top, 0.999))
    shares = 1 / (1 + np.exp(-np.linspace(low, high, points)))
    shares[0] = start / top
    each = np.ones(points)
    return _elapsed(objective, depth, lam * each, rho * each, start, shares * top), shares


def series_time(
    objective: Objective, depth: int, lam: ArrayLike, rho: ArrayLike, *, start: float = 0.01
) -> Array:
    """The part of the critical time that diverges for ``start`` to 0.

    JEPA: theorem 4.5 of the paper, up to a multiple of log(start). MAE: up to a constant; ``rho`` does not occur.
    """
    _check(depth, start)
    lam, rho = np.broadcast_arrays(np.asarray(lam, dtype=np.float64), np.asarray(rho, dtype=np.float64))
    if objective == "mae":
        grown = np.log(1 / start) if depth == 1 else start ** (1 / depth - 1) / (depth - 1)
        return np.asarray(grown / lam)
    terms = [1 / (n * rho ** (2 * depth - n - 1) * start ** (n / depth)) for n in range(1, 2 * depth)]
    return np.asarray(np.sum(terms, axis=0) / lam)


def first_order_ratio(depth: int, rho: float, other: float, *, start: float = 0.01) -> float:
    """Critical time at ``rho`` over that at ``other``, to first order in start^(1/depth): JEPA, equal ``lam``, depth >= 2.

    Raises:
        ConfigError: ``depth`` is 1, where ``rho`` enters through a logarithm alone.
    """
    _check(depth, start)
    if depth == 1:
        raise ConfigError("the expansion is for depth >= 2; use critical_time")
    return 1 + (2 * depth - 1) / (2 * depth - 2) * (1 / rho - 1 / other) * start ** (1 / depth)


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of values without ties."""
    ranks = [np.argsort(np.argsort(np.asarray(values))) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _check(depth: int, start: float) -> None:
    if depth < 1:
        raise ConfigError(f"depth must be at least 1, got {depth}")
    if not start > 0:
        raise ConfigError(f"start must be above 0, got {start}: at 0 nothing ever moves")


def _elapsed(
    objective: Objective, depth: int, lam: np.ndarray, rho: np.ndarray, low: float, high: np.ndarray
) -> np.ndarray:
    """Time from amplitude ``low`` to ``high``, both below the plateau; lam, rho > 0."""
    top = predictor_plateau(objective, depth, rho)
    begin, end = low ** (1 / depth) / top, high ** (1 / depth) / top
    if objective == "jepa":
        return (_jepa(depth, end) - _jepa(depth, begin)) / (lam * rho ** (2 * depth - 1))
    return (_mae(depth, end) - _mae(depth, begin)) / (lam * top ** (depth - 1))


def _jepa(depth: int, u: np.ndarray) -> np.ndarray:
    """Integral of 1 / (u^(2L) (1 - u)), u = q / q*."""
    return -sum(1 / (n * u**n) for n in range(1, 2 * depth)) + np.log(u) - np.log1p(-u)


def _mae(depth: int, u: np.ndarray) -> np.ndarray:
    """Integral of 1 / (u^L (1 - u^(L+1))) = u^-L + u / (1 - u^(L+1)), u = q / q*."""
    grown = np.log(u) if depth == 1 else -(u ** (1.0 - depth)) / (depth - 1)
    # Partial fractions: the poles are the roots of unity, the residue at each is -root^2 / (L + 1).
    roots = np.exp(2j * np.pi * np.arange(depth + 1) / (depth + 1))
    rest = sum(root**2 * np.log(1 - u / root) for root in roots)
    return grown - np.real(rest) / (depth + 1)
