"""Where pairs of views come from, and the covariance and regression coefficient of each feature that follow.

``StaticViews``    the same signal in two noisy views,
``Temporal``       a signal that persists from one noisy frame to the next (autoregressive of order 1),
``RandomMasking``  the visible and the hidden part of one stationary field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from anyjepa.errors import ConfigError

Samples = tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Second moments of pairs (x, y) of views, simultaneously diagonal in ``basis``.

    Attributes:
        lam: (d,) covariance of each feature between the views.
        variance: (d,) variance of each feature in x.
        target_variance: (d,) variance of each feature in y; it matters only without a stop-gradient. None: as in x.
        basis: (d, d), the features as orthonormal columns; None: the coordinates themselves.
    """

    lam: Float[np.ndarray, "d"]
    variance: Float[np.ndarray, "d"]
    target_variance: Float[np.ndarray, "d"] | None = None
    basis: Float[np.ndarray, "d d"] | None = None

    @classmethod
    def of(cls, lam: ArrayLike, rho: ArrayLike) -> Pairs:
        """Pairs with these covariances and regression coefficients, of equal signs."""
        lam, rho = np.asarray(lam, dtype=np.float64), np.asarray(rho, dtype=np.float64)
        if (lam * rho <= 0).any():
            raise ConfigError("lam and rho must have the same sign and not be 0: lam / rho is a variance")
        return cls(lam, lam / rho)

    @property
    def rho(self) -> Float[np.ndarray, "d"]:
        """Regression coefficient of each feature of y on that of x."""
        return self.lam / self.variance

    @property
    def features(self) -> Float[np.ndarray, "d d"]:
        """The basis, written out."""
        return np.eye(len(self.lam)) if self.basis is None else self.basis

    def matrices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E[x x^T], E[y x^T] and E[y y^T]."""
        q = self.features
        target = self.variance if self.target_variance is None else self.target_variance
        return (q * self.variance) @ q.T, (q * self.lam) @ q.T, (q * target) @ q.T


@runtime_checkable
class Family(Protocol):
    """A way to make pairs of views."""

    def pairs(self) -> Pairs:
        """Their second moments."""
        ...

    def sample(self, n: int, generator: np.random.Generator) -> Samples:
        """``n`` pairs (x, y)."""
        ...


@dataclass(frozen=True)
class StaticViews:
    """x = z + n, y = z + n': one signal in two views with independent noise.

    Attributes:
        signal: standard deviation a of each feature of the signal z.
        noise: standard deviation b of each feature of the noise.
        visible: tokens over which the context view is averaged; its noise has variance b^2 / visible.
    """

    signal: Sequence[float]
    noise: Sequence[float]
    visible: int = 1

    @classmethod
    def realising(cls, lam: ArrayLike, rho: ArrayLike) -> StaticViews:
        """The views with these covariances and regression coefficients: a^2 = lam, b^2 = lam / rho - lam.

        Raises:
            ConfigError: a regression coefficient is not in (0, 1], or a covariance is not positive.
        """
        lam, rho = np.asarray(lam, dtype=np.float64), np.asarray(rho, dtype=np.float64)
        if (lam <= 0).any() or (rho <= 0).any() or (rho > 1).any():
            raise ConfigError("two noisy views have lam > 0 and 0 < rho <= 1")
        return cls(tuple(np.sqrt(lam).tolist()), tuple(np.sqrt(lam / rho - lam).tolist()))

    def pairs(self) -> Pairs:
        """lam = a^2, variance = a^2 + b^2 / visible."""
        a, b = _squares(self.signal), _squares(self.noise)
        return Pairs(a, a + b / self.visible, a + b)

    def sample(self, n: int, generator: np.random.Generator) -> Samples:
        """Gaussian pairs, each (n, d)."""
        z, mine, other = generator.normal(size=(3, n, len(self.signal)))
        z, b = z * self.signal, np.asarray(self.noise)
        return z + mine * b / np.sqrt(self.visible), z + other * b


@dataclass(frozen=True)
class Temporal:
    """x = z + n, y = z' + n' with z' = g z + sqrt(1 - g^2) a xi: two frames of a signal that persists.

    Attributes:
        persistence: g of each feature, between 0 (fast) and 1 (slow).
        signal: standard deviation a of each feature of the signal.
        noise: standard deviation b of each feature of the noise of a frame.
    """

    persistence: Sequence[float]
    signal: Sequence[float]
    noise: Sequence[float]

    @classmethod
    def realising(cls, lam: ArrayLike, rho: ArrayLike, persistence: Sequence[float]) -> Temporal:
        """The frames with these covariances, regression coefficients and persistences: a^2 = lam / g, b^2 = lam / rho - a^2.

        Raises:
            ConfigError: a regression coefficient is above the persistence, or a value is not positive.
        """
        lam, rho = np.asarray(lam, dtype=np.float64), np.asarray(rho, dtype=np.float64)
        g = np.asarray(persistence, dtype=np.float64)
        if (lam <= 0).any() or (rho <= 0).any() or (rho > g).any() or (g > 1).any():
            raise ConfigError("frames have lam > 0 and 0 < rho <= persistence <= 1")
        a = lam / g
        return cls(tuple(g.tolist()), tuple(np.sqrt(a).tolist()), tuple(np.sqrt(lam / rho - a).tolist()))

    def pairs(self) -> Pairs:
        """lam = g a^2, variance = a^2 + b^2."""
        a, b = _squares(self.signal), _squares(self.noise)
        return Pairs(np.asarray(self.persistence) * a, a + b)

    def sample(self, n: int, generator: np.random.Generator) -> Samples:
        """Gaussian pairs, each (n, d)."""
        z, fresh, mine, other = generator.normal(size=(4, n, len(self.signal)))
        g, a, b = (np.asarray(values) for values in (self.persistence, self.signal, self.noise))
        following = g * z + np.sqrt(1 - g**2) * fresh
        return a * z + b * mine, a * following + b * other


@dataclass(frozen=True, eq=False)
class RandomMasking:
    """x = m u, y = (1 - m) u: the visible and the hidden part of a stationary field u, each place visible with probability p.

    The features are the Fourier modes. Their covariances sum to zero, so that some are negative: these are never learned.

    Attributes:
        covariance: (d, d) circulant covariance of u.
        visible: p.
    """

    covariance: Float[np.ndarray, "d d"]
    visible: float

    def __post_init__(self) -> None:
        c, d = self.covariance, len(self.covariance)
        if not all(np.allclose(np.roll(c[0], i), c[i]) for i in range(d)) or not np.allclose(c, c.T):
            raise ConfigError("the covariance of a stationary field is symmetric and circulant")
        if not 0 < self.visible < 1:
            raise ConfigError(f"visible must lie between 0 and 1, got {self.visible}")

    @classmethod
    def exponential(cls, d: int, length: float, visible: float) -> RandomMasking:
        """A field on a ring of ``d`` places, of variance 1, with covariance exp(-distance / length)."""
        apart = np.arange(d)
        row = np.exp(-np.minimum(apart, d - apart) / length)
        return cls(np.stack([np.roll(row, i) for i in range(d)]), visible)

    def pairs(self) -> Pairs:
        """lam = p (1 - p) (c - v), variance = p^2 c + p (1 - p) v, for eigenvalue c and place variance v; rising in c."""
        eigenvalues, modes = np.linalg.eigh(self.covariance)
        p, v = self.visible, self.covariance[0, 0]
        both = p * (1 - p)
        hidden = (1 - p) ** 2 * eigenvalues + both * v
        return Pairs(both * (eigenvalues - v), p**2 * eigenvalues + both * v, hidden, modes)

    def sample(self, n: int, generator: np.random.Generator) -> Samples:
        """Pairs of Gaussian fields, each (n, d)."""
        eigenvalues, modes = np.linalg.eigh(self.covariance)
        d = len(eigenvalues)
        u = (generator.normal(size=(n, d)) * np.sqrt(np.maximum(eigenvalues, 0))) @ modes.T
        m = generator.random((n, d)) < self.visible
        return m * u, ~m * u


def _squares(values: Sequence[float]) -> np.ndarray:
    return np.square(np.asarray(values, dtype=np.float64))
