"""V-JEPA on real turntable clips of objects it never saw: predictions of hidden tubes know their clip, and their place in it.

What is particular to a clip is what the mean over all clips at a place leaves; what is particular to a place is that mean, less
the mean over all hidden places. Each is compared in predictions and in targets.
"""

import numpy as np
import pytest
import torch
from learning import alike, learn
from torch import nn

from anyjepa import create
from anyjepa.contract import Masks
from anyjepa.data.modalities import modality
from anyjepa.data.views_config import ViewsConfig

STEPS, BATCH, FRAMES, STRIDE = 200, 24, 8, 3
TRAINED_ON = 15
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def turntable(require_data):
    """Views (objects, angles, 1, 32, 32) of the objects to train on, and of the others."""
    path = require_data("views-coil20") / "COIL20.mat"
    source = modality("views").open(path, ViewsConfig(size=32, observed=(1, 1)))
    views = torch.stack([source.read(i) for i in range(len(source))]).float()
    views = (views - views.mean()) / views.std()
    views = views.unflatten(0, (20, 72))
    return views[:TRAINED_ON], views[TRAINED_ON:]


def clips(views, draws, count):
    """Clips (B, 1, T, 32, 32) of random objects that turn by 10 degrees from frame to frame, either way."""
    objects, starts = draws.integers(0, len(views), count), draws.integers(0, 72, count)
    ways = draws.choice([-STRIDE, STRIDE], count)
    angles = (starts[:, None] + ways[:, None] * np.arange(FRAMES)) % 72
    return views[objects[:, None], angles].transpose(1, 2)


def fresh(seed):
    return create(
        "vjepa",
        size="nano",
        frames=FRAMES,
        image_size=[32, 32],
        channels=1,
        patch_size=8,
        dim=64,
        depth=2,
        heads=2,
        predictor_width=32,
        predictor_depth=2,
        ranges="short",
        short_range={"blocks": 1, "spatial_scale": [0.3, 0.4]},
        ema=[0.98, 1.0],
        regularizer={"kind": "vicreg", "level": "both", "weight": 0.2},
        seed=seed,
        optim={"steps": STEPS, "warmup_steps": STEPS // 10, "start_lr": 2e-4, "lr": 3e-3, "final_lr": 3e-5},
    )


def trained(method, views, seed):
    draws = np.random.default_rng(seed)
    learn(method, lambda step: (clips(views, draws, BATCH), range(step * BATCH, (step + 1) * BATCH)), seed)
    return method


@torch.no_grad()
def knowledge(method, views):
    """Correlations of what is particular to the clip, and to the place in it, in predictions and in targets."""
    method.eval()
    x = clips(views, np.random.default_rng(9), 96)
    times, places = FRAMES // 2, 16
    hidden = torch.tensor([5, 6, 9, 10, 13, 14])
    seen = torch.tensor(sorted(set(range(places)) - set(hidden.tolist())))

    def tubes(cells):
        return (places * torch.arange(times)[:, None] + cells).flatten().expand(len(x), -1)

    masks = Masks(tubes(seen), tubes(hidden).unsqueeze(1))
    patches = method.context_encoder.tokenizer.cut(x)
    context = method.context_encoder.read(patches, masks.context)
    parts = [method.predictor(context, masks.context, masks.targets, kind=0)[:, 0]]
    parts.append(method.encode(x).tokens.gather(1, masks.targets[:, 0, :, None].expand(-1, -1, 64)))
    particular = (lambda p: p - p.mean(0), lambda p: p.mean(0) - p.mean((0, 1)))
    return [alike(*map(own, parts)) for own in particular]


class Moved(nn.Module):
    """The target encoder with its answers put elsewhere."""

    def __init__(self, encoder, move):
        super().__init__()
        self.encoder, self.move = encoder, move

    def read(self, patches, outputs=None):
        found = self.move(self.encoder.read(patches))
        return found.gather(1, outputs[..., None].expand(-1, -1, found.shape[-1]))


def misled(views, seed, move, monkeypatch):
    method = fresh(seed)
    right = method.target.encoder
    monkeypatch.setattr(
        method.target, "encoder", lambda own: Moved(right(own), move) if method.training else right(own)
    )
    return trained(method, views, seed)


def shuffled(x):
    """Every clip's tokens in another order."""
    return x.take_along_dim(torch.rand(*x.shape[:2], 1).argsort(1), 1)


def test_predictions_know_their_clip_and_their_place(turntable):
    known, new = turntable
    before = [knowledge(fresh(seed), new) for seed in SEEDS]
    after = [knowledge(trained(fresh(seed), known, seed), new) for seed in SEEDS]
    print("untrained", before, "trained", after)
    assert np.abs(before).max() < 0.15
    clip, place = np.array(after).min(axis=0)
    assert clip > 0.3 and place > 0.5, after


def test_targets_of_other_clips_teach_nothing_of_the_clip(turntable, monkeypatch):
    known, new = turntable
    clip, place = knowledge(misled(known, 0, lambda x: x.roll(1, 0), monkeypatch), new)
    assert abs(clip) < 0.15, (clip, place)


def test_targets_of_other_places_teach_nothing_of_the_place(turntable, monkeypatch):
    known, new = turntable
    clip, place = knowledge(misled(known, 0, shuffled, monkeypatch), new)
    assert abs(place) < 0.3, (clip, place)
