"""T-JEPA on real tables: what it predicts of hidden columns of rows it never saw belongs to those very rows.

What is particular to a row (the mean over all rows at a column taken off) is compared in predictions and targets: a prediction
that knows the column alone has none of it.
"""

import numpy as np
import pytest
import torch
from torch import nn

from anyjepa import Batch, create
from anyjepa.contract import Masks
from anyjepa.data.modalities import modality
from anyjepa.data.tables_config import TablesConfig
from anyjepa.methods.tjepa import TJEPAConfig
from anyjepa.training.optimizer import build_optimizer, set_schedules

STEPS, BATCH = 500, 128
SEEDS = (0, 1, 2)
FILES = {"tabular-california": "N_train.npy", "tabular-adult": "adult-train.csv.gz"}


@pytest.fixture(scope="module", params=FILES)
def table(request, require_data):
    """Rows to train on, rows to test on, and the categories of each column."""
    kind = modality("tables")
    path = require_data(request.param) / FILES[request.param]
    source = kind.open(path, TablesConfig(), labels=False)
    source, config = kind.settle(source, TablesConfig())
    some = np.linspace(0, len(source) - 1, 4000).astype(int)
    rows = kind.dataset(source, config).evaluation(some)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[:-500]], rows[order[-500:]], kind.place(TJEPAConfig(), source, config).cardinalities


def fresh(table, seed):
    return create(
        "tjepa",
        size="nano",
        cardinalities=table[2],
        columns=table[0].shape[-1],
        ema=[0.99, 1.0],
        seed=seed,
        optim={"steps": STEPS, "warmup_steps": 40, "lr": 2e-3},
    )


def trained(method, rows, seed):
    optimizer, draws = build_optimizer(method), torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        set_schedules(optimizer, method.optim, step + 1)
        index = torch.randint(len(rows), (BATCH,), generator=draws)
        loss = method(Batch(rows[index], index, step, seed)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step)
    return method


@torch.no_grad()
def knowledge(method, rows):
    """Mean over columns of the correlation of what is particular to a row, each column predicted from all others."""
    method.eval()
    d, found = rows.shape[-1], []
    for column in range(d):
        seen = torch.tensor([c for c in range(d) if c != column])
        masks = Masks(seen.expand(len(rows), -1), torch.full((len(rows), 1, 1), column))
        output = method(Batch(rows, torch.arange(len(rows))), masks)
        guess, truth = ((x - x.mean(0)).flatten() for x in (output.predicted, output.target))
        found.append(float((guess @ truth) / (guess.norm() * truth.norm()).clamp(min=1e-9)))
    return float(np.mean(found))


class Shifted(nn.Module):
    """The targets of another row."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x, *rest, **more):
        return self.encoder(x, *rest, **more).roll(1, 0)


def test_predictions_know_unseen_rows(table):
    known, new, _ = table
    before = [knowledge(fresh(table, seed), new) for seed in SEEDS]
    after = [knowledge(trained(fresh(table, seed), known, seed), new) for seed in SEEDS]
    print("untrained", before, "trained", after)
    assert min(after) > 0.3 and min(after) > max(map(abs, before)) + 0.2, (before, after)


def test_targets_of_other_rows_teach_nothing(table, monkeypatch):
    known, new, _ = table
    method = fresh(table, 0)
    right = method.target.encoder
    monkeypatch.setattr(
        method.target, "encoder", lambda own: Shifted(right(own)) if method.training else right(own)
    )
    found = knowledge(trained(method, known, 0), new)
    print("other rows", found)
    assert abs(found) < 0.15
