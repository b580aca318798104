"""ECG-JEPA on real recordings: a tiny model in a plain loop."""

import pytest
import torch

from anyjepa import Batch, create
from anyjepa.data.ecg import EcgConfig, open_ecg
from anyjepa.data.ecg_signal import random_crop
from anyjepa.monitoring.observe import observe
from anyjepa.schedules import learning_rate


def test_a_tiny_model_learns_on_real_recordings(require_data):
    pytest.importorskip("wfdb", reason="the reader of WFDB records: anyjepa[ecg]")
    records = open_ecg(require_data("ecg-12lead"), EcgConfig(rate=250, min_seconds=10))
    rows = range(0, len(records), 5)
    records = records.normalised(rows)
    signals = {row: records.read(row) for row in rows}

    # 5 s at 250 Hz in tokens of 100 ms
    steps, losses = 100, []
    method = create(
        "ecg-jepa", size="nano", channels=12, length=1250, ema=[0.99, 0.9995], optim={"steps": steps}
    )
    optimizer = torch.optim.AdamW(method.parameter_groups(), lr=0.0, betas=method.optim.betas, eps=1e-6)
    for step in range(steps):
        index = torch.tensor([rows[(16 * step + i) % len(rows)] for i in range(16)])
        crops = [random_crop(signals[int(i)], 1250, seed=0, step=step, index=int(i)) for i in index]
        output = method(Batch(torch.stack(crops), index, step=step))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(method.optim, step + 1)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(output.loss.item())
    seen = observe(output)
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}; {seen}")
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < 0.75 * first
    # Recordings still differ in the targets, and in many directions.
    assert seen["target_std"] > 0.1 and seen["target_rank"] > 8
