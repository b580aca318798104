"""What Brain-JEPA learns of real scans in a minute: something about people it has not met."""

import pytest
import torch

from anyjepa import Batch, create
from anyjepa.data import build_loader
from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.fmri_dataset import FmriDataset
from anyjepa.data.gradients import as_rows, diffusion_gradients, group_connectivity
from anyjepa.methods.brainjepa import BrainJEPA, BrainJEPAConfig
from anyjepa.report.error_map import Tally
from anyjepa.schedules import OptimConfig
from anyjepa.training.config import TrainConfig
from anyjepa.training.loop import train

STEPS, BATCH, FRAMES = 200, 8, 64
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
    optim = OptimConfig(steps=STEPS, warmup_steps=20, start_lr=1e-4, lr=3e-3, final_weight_decay=0.04)
    small = dict(
        size="nano", dim=32, depth=2, heads=2, predictor_width=32, predictor_depth=2, ema=(0.99, 1.0)
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
def error(method, held_out):
    """Squared error of predicting what is hidden of people it has not met, over that of the mean of the others at each place."""
    index = torch.arange(len(held_out))
    clips, tally = held_out.batch(index, random=False), Tally(len(held_out), method.layout.tokens)
    for step in range(4):
        tally.add(method(Batch(clips, index, step=step, seed=5)))
    return float(tally.errors.sum() / tally.mean_errors().sum())


@pytest.mark.parametrize("seed", [0, 1])
def test_people_it_has_not_met_are_predicted_better_than_by_their_mean(people, tmp_path, seed):
    """Measured for seeds 0 and 1: 0.83 and 0.86, untrained 1.6. With the targets of another person 0.93 and 0.95."""
    training, held_out = people
    assert error(build(training, seed).eval(), held_out) > 1.2
    assert error(trained(training, seed, tmp_path / "run"), held_out) < 0.9


def test_targets_of_another_person_teach_next_to_nothing(people, tmp_path, monkeypatch):
    """The same with a fault built in, so that the threshold above means something."""
    compare = BrainJEPA.compare
    monkeypatch.setattr(
        BrainJEPA, "compare", lambda self, p, target, masks: compare(self, p, target.roll(1, 0), masks)
    )
    assert error(trained(people[0], 0, tmp_path / "run"), people[1]) > 0.9
