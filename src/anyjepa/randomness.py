"""Randomness as a pure function of (seed, purpose, step, sample index).

Nothing here has state. The number of loader workers, the number of processes and a resume therefore cannot change what is
drawn for a sample: the draw is computed where it is needed, from the four numbers that name it.

The generator is counter based: a 64-bit avalanche mix (the SplitMix64 finaliser, Steele et al. 2014) of a key made of the
four numbers and of the position of the draw. It is made for masks, crops and shuffles, not for cryptography.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mix_int(x: int) -> int:
    x &= _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def derive_seed(seed: int, purpose: str, step: int = 0, index: int = 0) -> int:
    """A 63-bit seed for a generator of another library, one per (seed, purpose, step, index)."""
    key = _mix_int(seed + _GOLDEN)
    for part in (zlib.crc32(purpose.encode()), step, index):
        key = _mix_int(key * _GOLDEN + part + 1)
    return key >> 1


def bits(seed: int, purpose: str, step: int, index: ArrayLike, n: int) -> NDArray[np.uint64]:
    """64 random bits for each of ``n`` draws of each sample.

    Args:
        seed: seed of the run.
        purpose: what the draw is for, e.g. ``"mask/target"``; draws for two purposes are independent.
        step: optimizer step.
        index: sample indices, shape (B,); 0 for what is drawn once per step.
        n: draws per sample.

    Returns:
        uint64 array (B, n). Row b depends on ``index[b]`` alone, never on the other rows.
    """
    base = np.uint64(derive_seed(seed, purpose, step))
    rows = np.atleast_1d(np.asarray(index)).astype(np.uint64)
    keys = _mix((rows + np.uint64(1)) * np.uint64(_GOLDEN) + base)
    counters = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return _mix(keys[:, None] + counters[None, :])


def uniform(seed: int, purpose: str, step: int, index: ArrayLike, n: int) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), shape (B, n); see :func:`bits`."""
    return (bits(seed, purpose, step, index, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, purpose: str, step: int, n: int) -> NDArray[np.int64]:
    """A random order of ``range(n)``."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, purpose, step))).permutation(n)
