"""T-JEPA on real tables: what it predicts of hidden columns of rows it never saw belongs to those very rows.

What is particular to a row (the mean over all rows at a column taken off) is compared in predictions and targets: a prediction
that knows the column alone has none of it.
"""

import numpy as np
import pytest
import torch
from learning import alike, learn
from torch import nn

from anyjepa import Batch, create
from anyjepa.contract import Masks
from anyjepa.data.modalities import modality
from anyjepa.data.tables_config import TablesConfig
from anyjepa.methods.tjepa import TJEPAConfig

STEPS, BATCH = 400, 128
LEAST = 0.2
"""Measured: 0.28, 0.52, 0.35 on California with seeds 0, 1, 2, and 0.36 on Adult; 0.00 with the targets of other rows."""
FILES = {"tabular-california": "N_train.npy", "tabular-adult": "adult-train.csv.gz"}
SEEDS = {"tabular-california": (0, 1), "tabular-adult": (0,)}


@pytest.fixture(scope="module")
def tables(require_data):
    """Of each table: rows to train on, rows to test on, and the categories of each column."""
    kind, found = modality("tables"), {}
    for name, file in FILES.items():
        source, config = kind.settle(kind.open(require_data(name) / file, TablesConfig()), TablesConfig())
        some = np.linspace(0, len(source) - 1, 4000).astype(int)
        rows = kind.dataset(source, config).evaluation(some)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        codes = kind.place(TJEPAConfig(), source, config).cardinalities
        found[name] = (rows[order[:-500]], rows[order[-500:]], codes)
    return found


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
    draws = torch.Generator().manual_seed(seed)

    def draw(step):
        index = torch.randint(len(rows), (BATCH,), generator=draws)
        return rows[index], index

    learn(method, draw, seed)
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
        found.append(alike(*(x - x.mean(0) for x in (output.predicted, output.target))))
    return float(np.mean(found))


class Shifted(nn.Module):
    """The targets of another row."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x, *rest, **more):
        return self.encoder(x, *rest, **more).roll(1, 0)


@pytest.mark.parametrize("name", FILES)
def test_predictions_know_unseen_rows(tables, name):
    known, new, _ = tables[name]
    before = [knowledge(fresh(tables[name], seed), new) for seed in SEEDS[name]]
    after = [knowledge(trained(fresh(tables[name], seed), known, seed), new) for seed in SEEDS[name]]
    print("untrained", before, "trained", after)
    assert np.abs(before).max() < 0.1 and min(after) > LEAST, (before, after)


def test_targets_of_other_rows_teach_nothing(tables, monkeypatch):
    known, new, _ = table = tables["tabular-california"]
    method = fresh(table, 0)
    right = method.target.encoder
    monkeypatch.setattr(
        method.target, "encoder", lambda own: Shifted(right(own)) if method.training else right(own)
    )
    assert abs(knowledge(trained(method, known, 0), new)) < 0.1
