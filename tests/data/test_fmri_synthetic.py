"""Made-up scans: what is put into them is found again, by those who look for it in the right place and by nobody else."""

import numpy as np
import pytest

from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.fmri_synthetic import NETWORKS, TR, synthetic_scans
from anyjepa.data.gradients import diffusion_gradients, group_connectivity


@pytest.fixture(scope="module")
def made():
    return synthetic_scans(120, rois=36, frames=96, seed=3)


def coupling(made, a, b):
    """Mean correlation of the regions of two networks, for each person."""
    r = np.stack([np.corrcoef(scan.T) for scan in made.scans])
    return r[:, made.network == a][:, :, made.network == b].mean(axis=(1, 2))


def test_shapes_and_seeds(made):
    assert made.scans.shape == (120, 96, 36) and made.scans.dtype == np.float32
    assert set(made.group.tolist()) == {0, 1} and made.age.min() >= 20 and made.age.max() <= 80
    assert (np.bincount(made.network) == 36 // NETWORKS).all()
    assert np.array_equal(made.scans, synthetic_scans(120, rois=36, frames=96, seed=3).scans)
    assert not np.array_equal(made.network, synthetic_scans(2, rois=36, frames=96, seed=4).network)


def test_people_differ_by_two_couplings_alone(made):
    apart = coupling(made, 0, 1)
    assert apart[made.group == 1].mean() - apart[made.group == 0].mean() > 0.2
    assert np.corrcoef(coupling(made, 2, 3), made.age)[0, 1] > 0.5
    assert abs(np.corrcoef(coupling(made, 4, 5), made.age)[0, 1]) < 0.25
    # Nothing is to be had from means or sizes of single regions.
    for of in (made.scans.mean(axis=1), made.scans.std(axis=1)):
        r = [np.corrcoef(of[:, i], made.group)[0, 1] for i in range(36)]
        assert np.abs(r).max() < 0.4 and np.abs(np.mean(r)) < 0.1


def test_the_order_of_the_regions_says_nothing_and_gradients_say_all(made):
    source = FmriSource.of(made.scans, FmriConfig(tr=TR))
    places = diffusion_gradients(group_connectivity(source.scans()), 5)
    distance = np.linalg.norm(places[:, None] - places, axis=2)
    same = made.network[:, None] == made.network
    off = ~np.eye(36, dtype=bool)
    assert distance[same & off].mean() < 0.5 * distance[~same].mean()
    number = np.abs(np.subtract.outer(np.arange(36), np.arange(36)))
    assert abs(np.corrcoef(number[off], same[off])[0, 1]) < 0.1


def test_activity_is_slow(made):
    x = made.scans - made.scans.mean(axis=1, keepdims=True)
    lag = (x[:, 1:] * x[:, :-1]).mean() / (x**2).mean()
    far = (x[:, 15:] * x[:, :-15]).mean() / (x**2).mean()
    assert lag > 0.3 and abs(far) < 0.1
