"""Rotations as the numbers that actions are made of: quaternions (x, y, z, w), and cosine and sine in a plane."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def from_euler(angles: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 4"]:
    """Quaternions of rotations about the fixed axes x, then y, then z, by angles in radians."""
    half = np.asarray(angles, dtype=np.float64) / 2
    axes = [
        np.concatenate([np.sin(half[..., i, None]) * np.eye(3)[i], np.cos(half[..., i, None])], axis=-1)
        for i in range(3)
    ]
    return multiply(axes[2], multiply(axes[1], axes[0]))


def multiply(a: Float[np.ndarray, "*n 4"], b: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
    """The rotation ``b`` followed by ``a``."""
    u, s, v, t = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    vector = s * v + t * u + np.cross(u, v)
    return np.concatenate([vector, s * t - (u * v).sum(-1, keepdims=True)], axis=-1)


def inverse(a: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
    """The rotation back."""
    return a * np.array([-1.0, -1.0, -1.0, 1.0])


def between(a: Float[np.ndarray, "*n 4"], b: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
    """``a`` inverse times ``b``: what leads from pose a to pose b, as seen from a."""
    return multiply(inverse(a), b)


def turn(a: Float[np.ndarray, "*n 1"], b: Float[np.ndarray, "*n 1"]) -> Float[np.ndarray, "*n 2"]:
    """Cosine and sine of the angle from ``a`` to ``b``, in radians."""
    return np.concatenate([np.cos(b - a), np.sin(b - a)], axis=-1)
