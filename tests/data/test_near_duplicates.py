"""Clusters of near copies: copies are found, strangers are not, and no two clusters are more alike than the threshold."""

from pathlib import Path

import numpy as np
import pytest

from anyjepa.data.arrays import ArraySource
from anyjepa.data.near_duplicates import closest, near_duplicates, thumbnails
from anyjepa.errors import ConfigError


def chips(n: int, seed: int = 0) -> np.ndarray:
    """Different smooth images (n, 24, 24)."""
    coarse = np.random.default_rng(seed).standard_normal((n, 8, 8))
    return coarse.repeat(3, 1).repeat(3, 2).astype(np.float32)


def test_turned_mirrored_and_brighter_copies_are_one_cluster() -> None:
    a = chips(10)
    copies = np.concatenate(
        [a, np.rot90(a, 1, (1, 2)), a[:, ::-1], 3 * np.rot90(a, 2, (1, 2))[:, :, ::-1] + 5]
    )
    copies = copies + 0.1 * np.random.default_rng(1).standard_normal(copies.shape).astype(np.float32)
    groups = near_duplicates(copies, 0.8)
    assert len(set(groups.tolist())) == 10
    assert all(len(set(groups[i::10].tolist())) == 1 for i in range(10))
    assert len(set(near_duplicates(copies, 0.8, turned=False).tolist())) > 20


def test_likeness_is_handed_on() -> None:
    """The ends of a chain of small changes are strangers, and in one cluster all the same."""
    a, b = chips(2)
    chain = np.stack([np.cos(t) * a + np.sin(t) * b for t in np.linspace(0, np.pi / 2, 9)])
    assert closest(chain[:1], chain[-1:])[0][0] < 0.5
    assert len(set(near_duplicates(chain, 0.9).tolist())) == 1


def test_clusters_are_never_more_alike_than_the_threshold() -> None:
    many = chips(700)
    many[350:] = 0.7 * many[:350] + 0.7 * many[350:]
    groups = near_duplicates(many, 0.6)
    sides = groups % 2 == 0
    assert 1 < len(set(groups.tolist())) < 700
    alike, nearest = closest(many[sides], many[~sides])
    assert alike.max() <= 0.6 + 1e-6 and alike.shape == nearest.shape == (sides.sum(),)


def test_the_closest_is_found_by_turns() -> None:
    a = chips(20)
    alike, nearest = closest(np.rot90(a, 3, (1, 2)), a)
    np.testing.assert_array_equal(nearest, np.arange(20))
    np.testing.assert_allclose(alike, 1.0, atol=1e-5)


def test_what_is_missing_or_flat_resembles_nothing() -> None:
    images = chips(6)
    images[1], images[2:4] = np.nan, 7.0
    assert len(set(near_duplicates(images, 0.5).tolist())) == 6


def test_thumbnails_of_a_source() -> None:
    pixels = np.full((3, 48, 30), 51, np.uint8)
    found = thumbnails(ArraySource(lambda: pixels, "X"), 12)
    assert found.shape == (3, 12, 12)
    np.testing.assert_allclose(found, 51, atol=1e-3)


def test_an_impossible_threshold_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        near_duplicates(chips(2), 1.0)
