"""One function that opens whatever the images lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data.arrays import open_digits, open_npy, open_npz
from anyjepa.data.base import ORDINARY_CHANNELS, Source, Subset
from anyjepa.data.decode import EXTENSIONS, is_grey
from anyjepa.data.folder import FolderSource, find_files, list_images
from anyjepa.data.parquet import ParquetSource
from anyjepa.errors import ConfigError, DataError

KINDS = "a folder of images, a .parquet file or a folder of them, a .npy or .npz array, or 'digits'"
"""What :func:`open_source` takes, in words."""

_LOOK_AT = 32  # images whose header tells whether a source is grey


def open_source(
    path: str | Path,
    *,
    labels: bool = False,
    channels: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    limit: int | None = None,
) -> Source:
    """The images behind a path or a builtin name.

    Args:
        path: a folder of images at any nesting; a ``.parquet`` file or a folder of them; a ``.npy`` or
            ``.npz`` array; ``"digits"``, ``"digits:train"`` or ``"digits:test"``.
        labels: read the labels too; they must then exist. A folder's labels are the directories around the
            images.
        channels: 1 (grey) or 3 (colour) for encoded images; None: 1 when all looked at are grey, else 3; for
            arrays as stored.
        image_column: column of the images in parquet files; None: found.
        label_column: column of the labels in parquet files; None: found.
        limit: use that many images, evenly spread over all; None: all.

    Raises:
        DataError: nothing is there, or it holds no images.
        ConfigError: an impossible ``channels`` or ``limit``.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1 image, got {limit}; leave it out to use all")
    if channels is not None and channels < 1:
        raise ConfigError(f"channels must be 1 (grey) or 3 (colour), got {channels}")
    source = _open(path, labels, channels, image_column, label_column)
    if len(source) == 0:
        raise DataError(f"{path} holds no images")
    return source if limit is None or limit >= len(source) else Subset(source, limit)


def _open(
    path: str | Path, labels: bool, channels: int | None, image_column: str | None, label_column: str | None
) -> Source:
    if str(path) in ("digits", "digits:train", "digits:test"):
        return open_digits(str(path).partition(":")[2], channels, labels)
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"{path} does not exist; expected {KINDS}")
    ending = place.suffix.lower()
    if place.is_file() and ending == ".npy":
        if labels:
            raise DataError(
                f"{path} has no labels; store images and labels in one .npz (keys: images, labels)"
            )
        return open_npy(place, channels)
    if place.is_file() and ending == ".npz":
        return open_npz(place, channels, labels)
    if channels is not None and channels not in ORDINARY_CHANNELS:
        raise ConfigError(f"encoded images have 1 (grey) or 3 (colour) channels, got channels={channels}")
    if place.is_file() and ending == ".parquet":
        return _parquet([place], labels, channels, image_column, label_column)
    if place.is_file():
        hint = f"; give the folder around it: {place.parent}" if ending in EXTENSIONS else ""
        raise DataError(f"{path} is a {ending or 'nameless'} file{hint}; expected {KINDS}")
    images = list_images(place)
    if images:
        return FolderSource(
            place, images, channels or _channels(lambda i: place / images[i], len(images)), labels
        )
    tables = [place / name for name in find_files(place, frozenset({".parquet"}))]
    if not tables:
        raise DataError(
            f"the folder {path} holds no images ({', '.join(sorted(EXTENSIONS))}) and no .parquet files"
        )
    return _parquet(tables, labels, channels, image_column, label_column)


def _parquet(
    files: list[Path], labels: bool, channels: int | None, image_column: str | None, label_column: str | None
) -> Source:
    source = ParquetSource(files, channels or 3, image_column, label_column, labels)
    if channels is None:
        source.channels = _channels(source.encoded, len(source))
    return source


def _channels(encoded: Callable[[int], Any], count: int) -> int:
    def looks() -> Iterator[bool]:
        for i in np.unique(np.linspace(0, count - 1, min(count, _LOOK_AT)).astype(int)).tolist():
            try:
                grey = is_grey(encoded(i))
            except DataError:
                continue
            if grey is not None:
                yield grey

    seen = list(looks())
    return 1 if seen and all(seen) else 3
