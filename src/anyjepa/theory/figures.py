"""The figures of ``anyjepa theory``: closed forms as lines, gradient descent on whole matrices over them as dots.

The paper's own settings are not public; depths, starts and spectra are chosen here to show its claims.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anyjepa.errors import ConfigError, nearest
from anyjepa.theory.descent import Descent, descend
from anyjepa.theory.drawing import Figure, Line, Panel
from anyjepa.theory.families import Pairs, StaticViews, Temporal
from anyjepa.theory.modes import Objective, critical_time, first_order_ratio, learning_curve, plateau

BOTH: tuple[Objective, Objective] = ("jepa", "mae")
NAMES = {"jepa": "JEPA", "mae": "MAE"}
TIME, LEARNED, DEPTH = "time", "amplitude / plateau", "depth of the encoder"
FLIP_LAM, FLIP_RHO = np.linspace(1, 1.2, 6), np.linspace(0.95, 0.5, 6)
"""Six features whose order by covariance is the reverse of that by regression coefficient."""


def make_figure(name: str) -> Figure:
    """Compute one figure, in seconds.

    Args:
        name: a key of :data:`FIGURES`.

    Raises:
        ConfigError: there is no such figure.
    """
    if name not in FIGURES:
        raise ConfigError(f"unknown figure '{name}': {nearest(name, FIGURES)}")
    return FIGURES[name](name)


def by_rho(name: str) -> Figure:
    """Equal covariance, different regression coefficients."""
    rho = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    labels = [f"rho = {value:g}" for value in rho]
    return _curves(name, "equal covariance: a JEPA spreads by rho, an MAE does not", np.ones(5), rho, labels)


def by_lam(name: str) -> Figure:
    """Equal regression coefficient, different covariances."""
    lam = np.array([0.5, 0.75, 1.0, 1.5, 2.0])
    labels = [f"lambda = {value:g}" for value in lam]
    return _curves(name, "equal rho: both learn in the order of the covariance", lam, np.full(5, 0.8), labels)


def by_depth(name: str) -> Figure:
    """How much later a noisy feature is learned than a clean one, over depth."""
    clean, noisy = 0.9, 0.5
    panels, worst = [], []
    for objective in BOTH:
        lines = []
        for start, most in ((0.01, 6), (0.001, 8)):
            depths, label = np.arange(1, most + 1), f"start {start:g}"
            ratio = [
                _ratio(critical_time(objective, int(d), 1.0, [noisy, clean], start=start)) for d in depths
            ]
            lines.append(Line(label, "theory", depths.astype(float), np.array(ratio)))
            if objective == "jepa":
                first = [first_order_ratio(int(d), noisy, clean, start=start) for d in depths[1:]]
                lines.append(
                    Line(f"{label}, first order", "theory", depths[1:].astype(float), np.array(first))
                )
        simulated = []
        for depth in range(1, 5):
            found, exact = _simulate(objective, Pairs.of(np.ones(2), [noisy, clean]), depth)[1:]
            simulated.append(_ratio(found))
            worst.append(_deviation(found, exact))
        lines.append(Line("start 0.01", "simulation", np.arange(1.0, 5.0), np.array(simulated)))
        panels.append(
            Panel(NAMES[objective], DEPTH, f"t(rho = {noisy:g}) / t(rho = {clean:g})", lines, whole=True)
        )
    return Figure(name, "the delay of a noisy feature grows with depth", panels, max(worst))


def by_noise(name: str) -> Figure:
    """The static family: the same signal under more and more noise."""
    noise = np.linspace(0.0, 1.5, 7)
    family = StaticViews((1.0,) * 7, tuple(noise.tolist()))
    fine = np.linspace(0.0, 1.5, 61)
    panels, worst = [], []
    for objective in BOTH:
        lines = []
        for depth in (1, 2, 3):
            label = f"depth {depth}"
            exact = critical_time(objective, depth, np.ones(61), 1 / (1 + fine**2))
            lines.append(Line(label, "theory", fine, exact / exact[0]))
            _, found, times = _simulate(objective, family.pairs(), depth)
            lines.append(Line(label, "simulation", noise, found / found[0]))
            worst.append(_deviation(found, times))
        axis = "standard deviation of the noise (signal: 1)"
        panels.append(Panel(NAMES[objective], axis, "critical time / that without noise", lines))
    return Figure(name, "two noisy views of one signal: noise delays a JEPA, not an MAE", panels, max(worst))


def by_frames(name: str) -> Figure:
    """The temporal family: slow clean features of small covariance against fast noisy ones of large covariance."""
    families = (
        ("three features far apart", Temporal((0.99, 0.9, 0.5), (0.5, 1.0, 2.0), (0.1, 0.5, 1.0))),
        (
            "six features close by",
            Temporal.realising(FLIP_LAM, FLIP_RHO, (0.99, 0.93, 0.87, 0.81, 0.75, 0.69)),
        ),
    )
    panels, worst = [], []
    for which, family in families:
        pairs = family.pairs()
        labels = [f"lambda {a:.3g}, rho {b:.2g}" for a, b in zip(pairs.lam, pairs.rho, strict=True)]
        for objective in BOTH:
            depths = range(1, 5)
            exact = np.stack([critical_time(objective, depth, pairs.lam, pairs.rho) for depth in depths])
            found = np.stack([_simulate(objective, pairs, depth)[1] for depth in depths])
            worst.append(_deviation(found, exact))
            lines = []
            for kind, times in (("theory", exact), ("simulation", found)):
                relative = times / times.min(axis=1, keepdims=True)
                lines += [
                    Line(label, kind, np.arange(1.0, 5.0), relative[:, i])  # type: ignore[arg-type]
                    for i, label in enumerate(labels)
                ]
            panels.append(
                Panel(
                    f"{NAMES[objective]}, {which}",
                    DEPTH,
                    "critical time / that of the first",
                    lines,
                    whole=True,
                )
            )
    return Figure(name, "frames of persistent signals: with depth a JEPA turns to rho", panels, max(worst))


def by_descent(name: str) -> Figure:
    """Three features at three depths, whole matrices against the closed form."""
    lam, rho, start = np.array([1.0, 1.0, 0.5]), np.array([0.9, 0.6, 0.9]), 0.05
    labels = [f"lambda {a:g}, rho {b:g}" for a, b in zip(lam, rho, strict=True)]
    panels, worst = [], []
    for depth in (1, 2, 3):
        for objective in BOTH:
            lines, gap = _learning(objective, lam, rho, depth, start, labels)
            panels.append(Panel(f"{NAMES[objective]}, depth {depth}", TIME, LEARNED, lines))
            worst.append(gap)
    return Figure(name, "gradient descent on whole matrices follows the closed form", panels, max(worst))


FIGURES: dict[str, Callable[[str], Figure]] = {
    "F1": by_rho,
    "F2": by_lam,
    "F3": by_depth,
    "F4": by_noise,
    "F5": by_frames,
    "F6": by_descent,
}
"""What :func:`make_figure` makes."""


def _curves(name: str, title: str, lam: np.ndarray, rho: np.ndarray, labels: list[str]) -> Figure:
    depth = 2
    panels, worst = [], []
    for objective in BOTH:
        lines, gap = _learning(objective, lam, rho, depth, 0.01, labels)
        panels.append(Panel(f"{NAMES[objective]}, depth {depth}", TIME, LEARNED, lines))
        worst.append(gap)
    return Figure(name, title, panels, max(worst))


def _learning(
    objective: Objective, lam: np.ndarray, rho: np.ndarray, depth: int, start: float, labels: list[str]
) -> tuple[list[Line], float]:
    """Curves of all features, and the deviation of their critical times."""
    descent, found, exact = _simulate(objective, Pairs.of(lam, rho), depth, start)
    chosen = np.linspace(0, len(descent.times) - 1, 40).round().astype(int)
    shares = descent.amplitudes[chosen] / plateau(objective, depth, rho)
    lines = []
    for i, label in enumerate(labels):
        times, curve = learning_curve(objective, depth, float(lam[i]), float(rho[i]), start=start)
        shown = times <= descent.times[-1]
        lines.append(Line(label, "theory", times[shown], curve[shown]))
        lines.append(Line(label, "simulation", descent.times[chosen], shares[:, i]))
    return lines, _deviation(found, exact)


def _simulate(
    objective: Objective, pairs: Pairs, depth: int, start: float = 0.01
) -> tuple[Descent, np.ndarray, np.ndarray]:
    """A descent until all features are learned, its critical times, and the exact ones."""
    exact = critical_time(objective, depth, pairs.lam, pairs.rho, start=start)
    duration = 1.1 * float(exact.max())
    step = min(0.1 / float(pairs.lam.max()), duration / 3000)
    every = max(1, round(duration / step / 3000))
    descent = descend(objective, pairs, depth, duration=duration, start=start, step=step, every=every)
    return descent, descent.critical_times(0.9 * plateau(objective, depth, pairs.rho)), exact


def _ratio(times: np.ndarray) -> float:
    return float(times[0] / times[1])


def _deviation(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found / exact - 1).max())
