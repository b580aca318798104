"""What Brain-JEPA learns of real scans in a minute: the signal of regions it does not see, of people it has not met."""

import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from anyjepa import Batch, create
from anyjepa.data import build_loader
from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.fmri_dataset import FmriDataset
from anyjepa.data.gradients import as_rows, diffusion_gradients, group_connectivity
from anyjepa.masking.roi_time import CROSS_ROI, regions
from anyjepa.methods.brainjepa import BrainJEPAConfig
from anyjepa.schedules import OptimConfig
from anyjepa.training.config import TrainConfig
from anyjepa.training.loop import train

STEPS, BATCH, FRAMES, PATCH = 120, 8, 64, 16
HELD_OUT = 16


@pytest.fixture(scope="module")
def people(require_data):
    """Scans of one site, and the numbers of the people to train on and to test on."""
    root = require_data("fmri-abide-aal116")
    config = FmriConfig(frames=FRAMES, tr=1.5, table=str(root / "phenotypes.csv"), sites=("PITT",))
    source = FmriSource.open(root / "roi_timeseries.npz", config)
    return source.subset(range(HELD_OUT, len(source))), source.subset(range(HELD_OUT))


def build(source, seed, **fields):
    table = diffusion_gradients(group_connectivity(source.scans()), 10, sparsity=0.9)
    optim = OptimConfig(steps=STEPS, warmup_steps=12, start_lr=1e-4, lr=1e-3, final_weight_decay=0.04)
    small = dict(
        size="nano", dim=48, depth=2, heads=4, predictor_width=32, predictor_depth=2, ema=(0.99, 1.0)
    )
    config = BrainJEPAConfig(**(small | fields), gradients=as_rows(table), seed=seed, optim=optim)
    return create("brainjepa", config.fit((1, source.rois, FRAMES)))


def trained(source, seed, run, **fields):
    method, dataset = build(source, seed, **fields), FmriDataset(source)

    def loader(start_step, rank, world):
        options = dict(seed=seed, batch_size=BATCH, steps=STEPS, start_step=start_step)
        return build_loader(dataset, **options, rank=rank, world=world)

    settings = TrainConfig(seed=seed, batch_size=BATCH, workers=0, accelerator="cpu", checkpoint_every=10**6)
    result = train(method, loader, settings, run)
    assert result.diagnosis.verdict not in ("complete collapse", "diverged")
    return method.eval()


@torch.no_grad()
def skill(method, train_on, test_on):
    """R2 of the hidden signal, read by ridge regression from what is predicted of its representation: other regions at the same
    time, on people whom neither the method nor the regression has met."""

    def read(source):
        index = torch.arange(len(source))
        x = source.batch(index, random=False)
        output = method(Batch(x, index, step=3, seed=9))
        patches = x[:, 0].unflatten(2, (-1, PATCH)).flatten(1, 2)
        truth = patches.gather(1, output.masks.targets.flatten(1)[..., None].expand(-1, -1, PATCH))
        there = regions(output.masks, method.layout).flatten() == CROSS_ROI
        return output.predicted.flatten(0, 2)[there].numpy(), truth.flatten(0, 1)[there].numpy()

    (a, y), (b, z) = read(train_on), read(test_on)
    return r2_score(z, Ridge(1.0).fit(a, y).predict(b))


def test_hidden_regions_are_known_after_a_minute(people, tmp_path):
    gains = []
    for seed in range(2):
        untrained = skill(build(people[0], seed).eval(), *people)
        learned = skill(trained(people[0], seed, tmp_path / str(seed)), *people)
        print(seed, untrained, learned)
        gains.append((untrained, learned))
    assert all(learned > untrained + 0.1 for untrained, learned in gains), gains
