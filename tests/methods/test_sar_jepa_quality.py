"""On real radar chips: what is seen of a window tells what is hidden in it, and where.

The chips are split by clusters of near copies. After some seconds of training the loss on chips of other clusters is compared
with that of the best constant, of predictions made from the windows of other chips, and of predictions for other places.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import learn

from anyjepa import Batch, create
from anyjepa.data.modalities import modality
from anyjepa.data.near_duplicates import closest, near_duplicates, thumbnails
from anyjepa.data.radar import RadarConfig, RadarDataset

CHIPS = Path(os.environ.get("ANYJEPA_DATA", "../shared/data")) / "sar-acd" / "images.tar"
pytestmark = pytest.mark.skipif(not CHIPS.is_file(), reason=f"needs SAR-ACD at {CHIPS}: set ANYJEPA_DATA")
STEPS, BATCH, SIDE = 250, 32, 32


@pytest.fixture(scope="module")
def chips():
    config = RadarConfig(size=SIDE, fit="squeeze", contrast=(1.0, 1.0))
    dataset = RadarDataset(modality("radar").open(CHIPS, config, labels=True), config)
    images = thumbnails(dataset.source)
    return dataset, images, near_duplicates(images, 0.8)


def test_chips_are_near_copies_and_clusters_part_them(chips):
    dataset, images, groups = chips
    labels, side = dataset.source.labels, np.random.default_rng(0)
    sides = {
        "chips": side.permutation(len(labels)) % 2 == 0,
        "clusters": side.permutation(groups.max() + 1)[groups] % 2 == 0,
    }
    scores = {}
    for name, inside in sides.items():
        alike, nearest = closest(images[~inside], images[inside])
        scores[name] = (labels[inside][nearest] == labels[~inside]).mean(), alike.max()
        print(f"split by {name}: nearest thumbnail {scores[name][0]:.3f}, most alike {scores[name][1]:.3f}")
    assert scores["chips"][0] > 0.85 and scores["chips"][1] > 0.99
    assert scores["clusters"][0] < 0.5 and scores["clusters"][1] <= 0.8 + 1e-4


def test_windows_tell_what_they_hide(chips):
    dataset, _, groups = chips
    pool, test = np.flatnonzero(groups % 2 == 0), np.flatnonzero(groups % 2 == 1)
    torch.manual_seed(0)
    method = create(
        "sar-jepa",
        size="nano",
        dim=64,
        depth=2,
        heads=4,
        image_size=[SIDE, SIDE],
        channels=1,
        patch_size=4,
        predictor_depth=1,
        windows={"side": 4, "count": 2, "ratio": 0.5},
        features={"radii": [2, 4]},
        optim={"steps": STEPS, "lr": 3e-3},
    )
    draws = np.random.default_rng(0)

    def draw(step):
        rows = draws.choice(pool, BATCH, replace=False)
        return dataset.draw(step, rows, 0), rows

    learn(method, draw)
    method.eval()
    rows = test[:: len(test) // 200]
    batch = Batch(dataset.evaluation(rows), torch.from_numpy(rows), STEPS)
    with torch.no_grad():
        output = method(batch)
        target, predicted = output.target, output.predicted
        losses = {
            "trained": (predicted - target).square().mean(),
            "constant": (target - target.mean(dim=(0, 1, 2))).square().mean(),
            "windows of others": (predicted.roll(1, 0) - target).square().mean(),
            "other places": (predicted.roll(1, 2) - target).square().mean(),
        }
    print({name: round(float(value), 4) for name, value in losses.items()})
    assert losses["trained"] < 0.9 * losses["constant"]
    assert losses["trained"] < 0.8 * losses["windows of others"]
    assert losses["trained"] < 0.95 * losses["other places"]
