"""Images a Python caller hands over: an array, a list of files, a path, or a source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data.arrays import ArraySource
from anyjepa.data.base import Source
from anyjepa.data.folder import FolderSource
from anyjepa.data.sources import fit_channels, open_source
from anyjepa.errors import DataError


def as_source(x: Any, channels: int | None = None) -> Source:
    """Whatever holds images as a source of them. A further kind of data has its branch here, and its users need no other.

    Args:
        x: a :class:`Source`; a path, as for :func:`~anyjepa.data.sources.open_source`; a list of image files; or an array
            (N, H, W), (N, H, W, C) or (N, C, H, W) of NumPy, torch or anything NumPy takes.
        channels: 1 or 3 to convert; None: as they are.

    Raises:
        DataError: it is none of these, or there are no images in it.
    """
    if isinstance(x, Source):
        return x
    if isinstance(x, str | Path):
        return open_source(x, channels=channels)
    if _are_names(x):
        return list_source([str(name) for name in x], channels)
    try:
        array = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"X must be an array of images of one size, or a list of files; got {type(x).__name__}: {error}"
        ) from None
    if array.ndim < 3:
        raise DataError(
            f"X has shape {array.shape}; expected images (N, H, W), (N, H, W, C) or (N, C, H, W), a list of files, or a path"
        )
    return ArraySource(partial(_itself, array), "X", channels)


def list_source(files: Sequence[str], channels: int | None = None) -> Source:
    """Image files by their paths, in the given order.

    Args:
        files: paths; relative ones start at the working directory.
        channels: 1, 3 or a number of bands; None: as for :func:`~anyjepa.data.sources.open_source`.
    """
    if not files:
        raise DataError("the list of image files is empty")
    source = FolderSource(Path(), list(files))
    source.channels = channels or fit_channels(source)
    return source


def _are_names(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.ndim == 1 and len(x) > 0 and x.dtype.kind in "UO" and isinstance(x[0], str | Path)
    return isinstance(x, Sequence) and len(x) > 0 and isinstance(x[0], str | Path)


def _itself(array: np.ndarray) -> np.ndarray:
    return array
