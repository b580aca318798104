"""Small image files made on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def pixels(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Random uint8 image (H, W, C), or (H, W) for one channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    """The array as the bytes of a PNG, which keeps every value."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(path: Path, count: int = 24, seed: int = 0) -> list[np.ndarray]:
    """Parquet with ``image`` and ``label`` = row mod 3; sizes on both sides of the small-image limit."""
    sizes = [(32, 32), (20, 28), (50, 40), (33, 64)]
    arrays = [pixels(seed + i, *sizes[i % 4]) for i in range(count)]
    table = pa.table({"image": [png(a) for a in arrays], "label": [i % 3 for i in range(count)]})
    pq.write_table(table, path, row_group_size=7)
    return arrays
