"""Gradients of real scans (ABIDE I, AAL atlas) have the properties that the literature gives them."""

import csv

import numpy as np
import pytest

from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.gradients import affinity, diffusion_map, group_connectivity

SENSORY = ("Calcarine", "Cuneus", "Lingual", "Occipital_Sup", "Precentral", "Postcentral", "Heschl")
ASSOCIATION = (
    "Frontal_Sup_Medial",
    "Frontal_Mid",
    "Frontal_Sup",
    "Angular",
    "Cingulum_Post",
    "Temporal_Mid",
    "Rectus",
)


@pytest.fixture(scope="module")
def scans(require_data):
    root = require_data("fmri-abide-aal116")
    with (root / "Risk_ROI_List.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    return FmriSource.open(root / "roi_timeseries.npz", FmriConfig(frames=64)), names


def table(source, rows=None, dims=6):
    return diffusion_map(affinity(group_connectivity(source.scans(rows)), sparsity=0.9), dims)


def test_both_hemispheres_are_alike(scans):
    source, names = scans
    places, values = table(source)
    left = [i for i, name in enumerate(names) if name.endswith("_L")]
    right = [names.index(names[i][:-1] + "R") for i in left]
    alike = [np.corrcoef(places[left, k], places[right, k])[0, 1] for k in range(3)]
    apart = [np.corrcoef(places[left, k], np.roll(places[right, k], 7))[0, 1] for k in range(3)]
    assert min(alike) > 0.85 and max(np.abs(apart)) < 0.6
    assert (np.diff(values) <= 0).all() and 0.05 < values[0] < 0.1
    assert np.abs(np.corrcoef(places.T) - np.eye(6)).max() < 0.05


def test_one_of_the_first_two_runs_from_sensory_to_association_regions(scans):
    source, names = scans
    places, _ = table(source)
    low, high = ([i for i, n in enumerate(names) if n[:-2] in kind] for kind in (SENSORY, ASSOCIATION))
    separation = [np.mean(places[high, k][:, None] > places[low, k]) for k in range(2)]
    assert max(max(s, 1 - s) for s in separation) > 0.9


def test_halves_of_the_people_give_the_same(scans):
    source, _ = scans
    order = np.random.default_rng(0).permutation(len(source))
    a, b = (table(source, half)[0] for half in np.array_split(order, 2))
    # Two with nearly one eigenvalue may change places.
    r = np.abs(np.corrcoef(a[:, :2].T, b[:, :2].T)[:2, 2:])
    assert r.max(axis=1).min() > 0.85
