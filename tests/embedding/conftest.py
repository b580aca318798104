"""Little runs and small pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from little_runs import make_run
from PIL import Image


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """For grey images of 8 x 8 pixels."""
    return make_run(tmp_path_factory.mktemp("run") / "grey")


@pytest.fixture(scope="session")
def colour_run(tmp_path_factory) -> Path:
    """For colour images of 8 x 8 pixels."""
    return make_run(tmp_path_factory.mktemp("run") / "colour", channels=3)


@pytest.fixture
def photos(tmp_path) -> Path:
    """40 small PNG files, half in cat/, half in dog/, of different sizes."""
    draw = np.random.default_rng(0)
    for i in range(40):
        place = tmp_path / "photos" / ("cat" if i < 20 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (8 + i % 3, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i:02d}.png")
    return tmp_path / "photos"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
