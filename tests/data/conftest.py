"""Image files for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_files import pixels, png, write_parquet


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A parquet file of 24 images of four sizes."""
    write_parquet(tmp_path / "mixed.parquet")
    return tmp_path / "mixed.parquet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 PNG files in cat/ and dog/, six each."""
    root = tmp_path / "pets"
    for i in range(12):
        place = root / ("cat" if i < 6 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:02d}.png").write_bytes(png(pixels(i, 12, 10)))
    return root
