"""Made-up resting-state scans with known causes: for trying a pipeline while the real data are still being applied for.

Networks lie on a smooth map; each region belongs mostly to one of them and a little to its neighbours. A network's activity is
slow noise, seen through the haemodynamic response. What differs between people is how strongly two pairs of networks are coupled:
one coupling is there or not (``group``), the other grows with ``age``. The order of the regions says nothing about their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from anyjepa.randomness import derive_seed

TR = 2.0
"""Seconds from frame to frame."""
NETWORKS = 6
MEMORY = 10.0
"""Seconds in which a network's activity forgets itself."""
COUPLING = 1.2
"""Strength of a coupling at its largest, in units of the activity of the network that follows."""


@dataclass(frozen=True)
class SyntheticScans:
    """Scans and what made them.

    Attributes:
        scans: (n, T, R) signals.
        group: (n,) 0 or 1: whether network 1 follows network 0.
        age: (n,) 20..80: network 3 follows network 2 the more the older.
        network: (R,) the network each region mostly belongs to.
    """

    scans: Float[np.ndarray, "n T R"]
    group: Int[np.ndarray, "n"]
    age: Float[np.ndarray, "n"]
    network: Int[np.ndarray, "R"]


def synthetic_scans(
    n: int = 600, rois: int = 60, frames: int = 160, *, noise: float = 1.0, seed: int = 0
) -> SyntheticScans:
    """Scans of ``n`` people.

    Args:
        n: people, one scan of each.
        rois: regions R.
        frames: frames T, ``TR`` seconds apart.
        noise: of each region by itself, in deviations of its signal.
        seed: of everything.
    """
    draws = np.random.default_rng(derive_seed(seed, "data/synthetic"))
    network = draws.permutation(np.arange(rois) % NETWORKS)
    angle = 2 * np.pi * (network + draws.uniform(-0.5, 0.5, rois)) / NETWORKS
    centre = 2 * np.pi * np.arange(NETWORKS) / NETWORKS
    weights = np.exp((np.cos(angle[:, None] - centre) - 1) / 0.15)
    group, age = draws.integers(0, 2, n), draws.uniform(20.0, 80.0, n)

    latent = draws.standard_normal((n, frames + 50, NETWORKS))
    keep = np.exp(-TR / MEMORY)
    for t in range(1, latent.shape[1]):
        latent[:, t] = keep * latent[:, t - 1] + np.sqrt(1 - keep**2) * latent[:, t]
    for leader, follower, strength in ((0, 1, COUPLING * group), (2, 3, COUPLING * (age - 20) / 60)):
        mixed = latent[:, :, follower] + strength[:, None] * latent[:, :, leader]
        # The coupling must show in what goes together, not in how large it is.
        latent[:, :, follower] = mixed / np.sqrt(1 + strength[:, None] ** 2)
    response = _response()
    seen = np.stack(
        [latent[:, t : t + len(response)].transpose(0, 2, 1) @ response[::-1] for t in range(frames)], 1
    )
    signal = (seen / seen.std()) @ weights.T
    signal /= signal.std(axis=(0, 1))
    return SyntheticScans(
        (signal + noise * draws.standard_normal(signal.shape)).astype(np.float32), group, age, network
    )


def _response() -> Float[np.ndarray, "k"]:
    """The haemodynamic response: a gamma peak after 5 s with a late undershoot, at the frame rate."""
    t = np.arange(0.0, 24.0, TR)
    shape = t**5 * np.exp(-t) / 120 - t**15 * np.exp(-t) / (6 * 1.307674368e12)
    return shape / shape.sum()
