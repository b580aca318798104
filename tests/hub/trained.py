"""Tiny trained runs that the tests of exports and imports share."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from anyjepa import create, pretrain
from anyjepa.contract import Method
from anyjepa.training import RunConfig

ENCODER = dict(dim=24, depth=2, heads=3, patch_size=4)
REST = {
    "ijepa": dict(predictor_width=8, predictor_depth=2, predictor_heads=2, masks={"min_keep": 1}),
    "lejepa": dict(hidden=8, projection=4, global_views=2),
}
SHAPE = (3, 24, 32)


def train(folder: Path, method: str, steps: int = 3, **more: object) -> Path:
    """A run of a few steps on pictures that are wider than high, with all weights away from their start."""
    data = folder / "pictures.npy"
    if not data.exists():
        pixels = np.random.default_rng(0).integers(0, 256, (16, *SHAPE[1:], 3), dtype=np.uint8)
        np.save(data, pixels)
    model = {
        **ENCODER,
        **REST[method],
        "image_size": list(SHAPE[1:]),
        "optim": {"steps": steps, "warmup_steps": 1},
    }
    # Not ImageNet's, so that it is seen whether they are kept.
    images = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}
    settings = {"batch_size": 8, "workers": 0, "accelerator": "cpu", "log_every": 1}
    values = {"method": method, "data": str(data), "out": str(folder / method), "model": model}
    pretrain(RunConfig.from_mapping({**values, "images": images, "train": settings, **more}))
    return folder / method


def shaken(name: str, **fields: object) -> Method:
    """A method with random weights everywhere, encoders that differ included."""
    method = create(name, **{**ENCODER, **REST[name], "image_size": SHAPE[1:], **fields}).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return method


def pictures(method: Method, count: int = 3) -> torch.Tensor:
    """Normalised images."""
    return torch.randn(count, *method.input_shape(), generator=torch.Generator().manual_seed(0))


def save(method: Method, folder: Path) -> Path:
    """A directory that holds a method as a training would leave it."""
    from anyjepa.config import to_dict
    from anyjepa.training import checkpoint

    content = {"method": method.name, "model": to_dict(method.config)}
    state = checkpoint.State(step=1, seconds=0.0, config=content)
    checkpoint.save(folder, state, dict(method.state_dict()), {})
    return folder


def elsewhere(code: str, *arguments: Path, python: str = sys.executable) -> None:
    """Run code in a process that has no anyjepa."""
    forbid = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "anyjepa":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import torch
"""
    command = [python, "-c", forbid + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@torch.no_grad()
def assert_same(
    tokens: torch.Tensor, pooled: torch.Tensor | None, method: Method, encoder: str = "target"
) -> None:
    wanted = method.encode(pictures(method), encoder=encoder)
    torch.testing.assert_close(tokens, wanted.tokens, rtol=0, atol=1e-5)
    if pooled is not None:
        torch.testing.assert_close(pooled, wanted.pooled, rtol=0, atol=1e-5)
