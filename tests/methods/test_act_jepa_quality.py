"""What ACT-JEPA's second loss is for: an encoder that knows where things are going, without being told the actions.

A point moves to a goal that only the picture shows. Fitted on states alone (``action_weight=0``), the frozen encoder must tell
the states to come on other episodes better than the same encoder untrained; without the second loss the two are the same.
"""

import numpy as np
import pytest
import torch
from learning import learn

from anyjepa import create
from anyjepa.data.episodes_config import EpisodesConfig
from anyjepa.data.loader import step_indices
from anyjepa.data.modalities import modality
from anyjepa.evaluation.future import FutureConfig, fit_future, moments, split_episodes, token_reader
from anyjepa.methods.act_jepa import ACTJEPAConfig
from anyjepa.schedules import OptimConfig

STEPS, BATCH, LENGTH, SIDE = 500, 32, 10, 16
PROBE = FutureConfig(steps=100, batch_size=64, depth=1, heads=2, ratio=2, dropout=0.0, lr=2e-3, frames=700)


def reaching(folder, episodes=60, frames=20):
    """Demonstrations: state is the place, the goal is red in the picture, the point green."""
    draws = np.random.default_rng(0)
    place, goal = draws.uniform(size=(episodes, 2)), draws.uniform(size=(episodes, 2))
    grid = (np.arange(SIDE) + 0.5) / SIDE
    arrays, states, pictures, actions = {}, [], [], []
    for _ in range(frames):
        action = 0.2 * (goal - place)
        blobs = [
            np.exp(
                -(
                    (grid[None, :, None] - c[:, 1, None, None]) ** 2
                    + (grid[None, None] - c[:, 0, None, None]) ** 2
                )
                / 0.01
            )
            for c in (goal, place)
        ]
        pictures.append(255 * np.stack([*blobs, 0 * blobs[0]], axis=-1))
        states.append(place)
        actions.append(action)
        place = place + action + 0.01 * draws.standard_normal(place.shape)
    for e in range(episodes):
        arrays |= {
            f"{e}/observation.state": np.stack([s[e] for s in states]).astype(np.float32),
            f"{e}/action": np.stack([a[e] for a in actions]).astype(np.float32),
            f"{e}/observation.image": np.stack([p[e] for p in pictures]).astype(np.uint8),
        }
    np.savez(folder / "reaching.npz", **arrays)
    return folder / "reaching.npz"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    kind, config = modality("episodes"), EpisodesConfig(states=LENGTH, actions=LENGTH)
    source, config = kind.settle(kind.open(reaching(tmp_path_factory.mktemp("reaching")), config), config)
    return kind.dataset(source, config)


def rmse(method, data):
    train, test = split_episodes(data.source.groups, 0.2, 0)
    parts = [
        moments(token_reader(method, "context"), data, rows, "states", PROBE.frames) for rows in (train, test)
    ]
    return fit_future(*parts, "states", PROBE, 0).rmse


def trained(data, **fields):
    optim = OptimConfig(
        steps=STEPS, warmup_steps=10, start_lr=0.0, lr=2e-3, final_lr=0.0, weight_decay=0.05, clip=1.0
    )
    config = ACTJEPAConfig(
        size="nano", dim=32, hidden=64, depth=2, heads=2, dropout=0.0, chunk=LENGTH, horizon=LENGTH, predictor_width=16,
        ema=(0.98, 1.0), optim=optim, **fields,
    )  # fmt: skip
    method = create("act-jepa", config.fit(data.shape))
    rows, _ = split_episodes(data.source.groups, 0.2, 0)

    def draw(step):
        index = rows[step_indices(0, step, BATCH, len(rows))]
        return data.sequences(index), index

    learn(method, draw)
    return method


@pytest.mark.quality
def test_the_second_loss_teaches_where_things_go(data):
    method = trained(data, action_weight=0.0)
    before = rmse(create("act-jepa", method.config), data)
    after = rmse(method, data)
    assert after < 0.7 * before, f"{after:.3f} after the training, {before:.3f} before"
    # Abstract states of different moments stay different.
    now = data.evaluation(np.arange(0, 600, 7))
    with torch.no_grad():
        assert method.eval().encode(now, encoder="target").pooled.std(dim=0).mean() > 0.05
