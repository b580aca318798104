"""The same equations of motion, solved numerically: a check on the closed forms, and the answer for features that die."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from anyjepa.theory.modes import Objective, critical_time, plateau, rate


def integrate(
    objective: Objective,
    depth: int,
    lam: float,
    rho: float,
    times: ArrayLike,
    *,
    start: float = 0.01,
) -> Float[np.ndarray, "times"]:
    """Amplitude of the encoder at each of the rising ``times``, for ``lam`` and ``rho`` of either sign.

    The equation is solved in ln w: near zero w itself changes by many orders of magnitude.
    """
    # scipy comes with scikit-learn; it takes long to import.
    from scipy.integrate import solve_ivp

    times = np.asarray(times, dtype=np.float64)

    def slope(_: float, y: np.ndarray) -> np.ndarray:
        return rate(objective, depth, lam, rho, np.exp(y)) * np.exp(-y)

    span = (0.0, float(times[-1]))
    found = solve_ivp(slope, span, [np.log(start)], method="LSODA", t_eval=times, rtol=1e-10, atol=1e-12)
    return np.exp(found.y[0])


def quadrature_time(
    objective: Objective, depth: int, lam: float, rho: float, *, start: float = 0.01, share: float = 0.9
) -> float:
    """The time of :func:`~anyjepa.theory.modes.critical_time` by adaptive quadrature of dw / (dw/dt)."""
    from scipy.integrate import quad

    critical_time(objective, depth, lam, rho, start=start, share=share)
    end = np.log(share * plateau(objective, depth, rho))

    def slowness(y: float) -> float:
        w = np.exp(y)
        return float(w / rate(objective, depth, lam, rho, w))

    return quad(slowness, np.log(start), end, epsabs=0, epsrel=1e-12, limit=500)[0]
