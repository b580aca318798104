"""One function that opens whatever the images lie in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anyjepa.data.archives import ArchiveSource
from anyjepa.data.arrays import open_digits, open_npy, open_npz
from anyjepa.data.base import EncodedSource, Source, Subset
from anyjepa.data.csv_paths import CsvSource
from anyjepa.data.decode import ORDINARY_CHANNELS, stored_channels
from anyjepa.data.folder import FolderSource, find_files, list_images
from anyjepa.data.formats import EXTENSIONS
from anyjepa.data.huggingface import PREFIX, HuggingFaceSource, is_saved
from anyjepa.data.openers import Asked, Opener, first_that_opens
from anyjepa.data.parquet import ParquetSource
from anyjepa.data.tar_index import expand, tar_index
from anyjepa.data.zip_index import zip_index
from anyjepa.errors import ConfigError, DataError

_LOOK_AT = 32  # images whose header tells how many channels a source has


def open_source(
    path: str | Path,
    *,
    labels: bool = False,
    channels: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    limit: int | None = None,
    max_pixels: int | None = None,
) -> Source:
    """The images behind a path or a builtin name.

    Args:
        path: a folder of images at any nesting; a ``.parquet`` file or a folder of them; a ``.csv`` or ``.tsv`` of
            paths; a ``.tar``, a folder of them or ``shards-{0000..0003}.tar``; a ``.zip``; a ``.npy`` or ``.npz``
            array; ``hf:NAME[:SPLIT]`` or a folder written by ``datasets``; ``"digits"``, ``"digits:train"`` or
            ``"digits:test"``. The kinds are the table IMAGE_OPENERS.
        labels: read the labels too; they must then exist. A folder's labels are the directories around the
            images.
        channels: 1 (grey) or 3 (colour) for encoded images, or the number of bands that each has; None: 1 when all
            looked at are grey, the number of bands when all have as many, else 3; for arrays as stored.
        image_column: column of the images in tables, ending of the image in tar archives; None: found.
        label_column: column of the labels in tables, key of the label in the .json of tar archives; None: found.
        limit: use that many images, evenly spread over all; None: all.
        max_pixels: images of more pixels are broken; None: Pillow's limit of 89 million.

    Raises:
        DataError: nothing is there, or it holds no images.
        ConfigError: an impossible ``channels``, ``limit`` or ``max_pixels``.
        MissingExtraError: the reader of this kind is not installed.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1 image, got {limit}; leave it out to use all")
    if channels is not None and channels < 1:
        raise ConfigError(f"channels must be 1 (grey), 3 (colour) or a number of bands, got {channels}")
    if max_pixels is not None and max_pixels < 1:
        raise ConfigError(f"max_pixels must be at least 1, got {max_pixels}; leave it out for Pillow's limit")
    asked = Asked(labels, channels, image_column, label_column, max_pixels)
    source = first_that_opens(str(path), asked, IMAGE_OPENERS)
    if len(source) == 0:
        raise DataError(f"{path} holds no images")
    if isinstance(source, EncodedSource):
        source.max_pixels = max_pixels
        source.channels = channels or fit_channels(source)
    return source if limit is None or limit >= len(source) else Subset(source, limit)


def fit_channels(source: EncodedSource) -> int:
    """Channels that fit the images looked at."""
    count = len(source)

    def looks() -> Iterator[int]:
        for i in np.unique(np.linspace(0, count - 1, min(count, _LOOK_AT)).astype(int)).tolist():
            try:
                seen = stored_channels(source.encoded(i))
            except DataError:
                continue
            if seen is not None:
                yield seen

    seen = set(looks())
    return seen.pop() if len(seen) == 1 else max(ORDINARY_CHANNELS)


def _file(place: str, *endings: str) -> Path | None:
    """The path when it is no folder and has one of the endings."""
    path = Path(place).expanduser()
    return path if path.suffix.lower() in endings and path.exists() and not path.is_dir() else None


def _folder(place: str) -> Path | None:
    path = Path(place).expanduser()
    return path if path.is_dir() else None


def _inside(place: str, ending: str) -> list[Path]:
    folder = _folder(place)
    return [folder / name for name in find_files(folder, frozenset({ending}))] if folder else []


def _digits(place: str, asked: Asked) -> Source | None:
    if place not in ("digits", "digits:train", "digits:test"):
        return None
    return open_digits(place.partition(":")[2], asked.channels, asked.labels)


def _huggingface(place: str, asked: Asked) -> Source | None:
    if place.startswith(PREFIX):
        name, _, split = place.removeprefix(PREFIX).partition(":")
        return HuggingFaceSource(name, split or None, asked.image_column, asked.label_column, asked.labels)
    folder = _folder(place)
    if folder is None or not is_saved(folder):
        return None
    return HuggingFaceSource(str(folder), None, asked.image_column, asked.label_column, asked.labels)


def _npy(place: str, asked: Asked) -> Source | None:
    path = _file(place, ".npy")
    if path is not None and asked.labels:
        raise DataError(f"{path} has no labels; store images and labels in one .npz (keys: images, labels)")
    return None if path is None else open_npy(path, asked.channels, asked.max_pixels)


def _npz(place: str, asked: Asked) -> Source | None:
    path = _file(place, ".npz")
    return None if path is None else open_npz(path, asked.channels, asked.labels, asked.max_pixels)


def _csv(place: str, asked: Asked) -> Source | None:
    path = _file(place, ".csv", ".tsv")
    return None if path is None else CsvSource(path, asked.image_column, asked.label_column, asked.labels)


def _parquet(place: str, asked: Asked) -> Source | None:
    path = _file(place, ".parquet")
    files = _inside(place, ".parquet") if path is None else [path]
    return ParquetSource(files, asked.image_column, asked.label_column, asked.labels) if files else None


def _tar(place: str, asked: Asked) -> Source | None:
    files = expand(place) if "{" in place and place.lower().endswith(".tar") else []
    path = _file(place, ".tar")
    files = files or (_inside(place, ".tar") if path is None else [path])
    if not files:
        return None
    return ArchiveSource(files, tar_index, asked.image_column, asked.label_column, asked.labels)


def _zip(place: str, asked: Asked) -> Source | None:
    path = _file(place, ".zip")
    if path is None:
        return None
    return ArchiveSource([path], zip_index, asked.image_column, asked.label_column, asked.labels)


def _images(place: str, asked: Asked) -> Source | None:
    path, folder = _file(place, *EXTENSIONS), _folder(place)
    if path is not None:
        raise DataError(f"{path} is one image; give the folder around it: {path.parent}")
    files = list_images(folder) if folder else []
    return FolderSource(folder, files, asked.labels) if folder and files else None


IMAGE_OPENERS = (
    Opener("'digits'", _digits),
    Opener("hf:NAME[:SPLIT] or a folder written by datasets", _huggingface),
    Opener(f"a folder of images ({', '.join(sorted(EXTENSIONS))})", _images),
    Opener("a .parquet file or a folder of them", _parquet),
    Opener("a .csv or .tsv of paths", _csv),
    Opener("a .tar, a folder of them, or shards-{0000..0003}.tar", _tar),
    Opener("a .zip of images", _zip),
    Opener("a .npy or .npz array", _npy),
    Opener("a .npz of arrays", _npz),
)
"""The kinds of storage images are read from, in the order in which they are tried."""
