"""Runs with random weights, written as a training writes them."""

from __future__ import annotations

from pathlib import Path

from anyjepa.config import to_dict
from anyjepa.registry import create
from anyjepa.training.checkpoint import State, save

TINY = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2, patch_size=2)


def make_run(folder: Path, *, seed: int = 0, step: int = 3, size: int = 8, channels: int = 1) -> Path:
    """A run directory of a tiny I-JEPA."""
    fields = dict(TINY, masks=dict(target_scale=[0.15, 0.3]), seed=seed)
    method = create("ijepa", image_size=[size, size], channels=channels, **fields)
    content = {
        "method": "ijepa",
        "model": to_dict(method.config),
        "images": {"size": size, "channels": channels},
    }
    save(folder, State(step, 0.0, content), dict(method.state_dict()), {})
    return folder
