"""Brain-JEPA on real scans: ABIDE I, AAL atlas, two sites with different repetition times."""

import numpy as np
import torch

from anyjepa import Batch, create
from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.gradients import as_rows, diffusion_gradients, group_connectivity
from anyjepa.evaluation.scans import embed_scans, predict_number, site_folds, subject_folds
from anyjepa.methods.brainjepa import BrainJEPAConfig


def test_a_few_steps_on_abide(require_data):
    root = require_data("fmri-abide-aal116")
    source = FmriSource.open(
        root / "roi_timeseries.npz", FmriConfig(frames=64), table=root / "phenotypes.csv"
    )
    table = diffusion_gradients(group_connectivity(source.scans()), 10)
    assert np.abs(np.corrcoef(table.T) - np.eye(10)).max() < 0.1, "gradients are nearly uncorrelated"
    config = BrainJEPAConfig(size="nano", dim=32, depth=2, gradients=as_rows(table)).fit((1, 116, 64))
    method = create("brainjepa", config)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for step in range(25):
        index = torch.randperm(66)[:8]
        output = method(Batch(source.batch(index, step=step), index, step=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(output.loss.item())
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])

    features = embed_scans(method, source)
    spread = np.linalg.svd(features - features.mean(0), compute_uv=False)
    share = spread / spread.sum()
    assert np.exp(-(share * np.log(share + 1e-12)).sum()) > 3, "scans differ in more than a few directions"
    age, fold = source.numbers("age"), subject_folds(source.subjects, source.numbers("age"), source.sites)
    found = predict_number(features, age, source.subjects, fold)
    assert np.isfinite(found.mean("mse")) and found.mean("mse") < 3.0
    assert site_folds(source.sites)[1] == ("OHSU", "PITT")
