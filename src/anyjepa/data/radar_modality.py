"""Radar images as a kind of data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from anyjepa.data.archives import ArchiveSource
from anyjepa.data.arrays import open_npz
from anyjepa.data.base import Source, Subset, encode_labels
from anyjepa.data.csv_paths import CsvSource
from anyjepa.data.folder import FolderSource, find_files
from anyjepa.data.image_modality import Images
from anyjepa.data.images import ImageConfig
from anyjepa.data.modality import Progress
from anyjepa.data.openers import Asked, Opener, first_that_opens
from anyjepa.data.radar import RadarConfig, RadarDataset, RadarSource
from anyjepa.data.radar_files import MSTAR, is_radar_name
from anyjepa.data.report import DataReport, inspect
from anyjepa.data.tar_index import tar_index
from anyjepa.data.zip_index import zip_index
from anyjepa.errors import ConfigError, DataError


class Radar(Images):
    """Amplitude images of synthetic aperture radar: chips of targets, scenes, complex or detected."""

    name = "radar"
    noun = "radar images"
    config: ClassVar[type] = RadarConfig
    opens = "a folder or a .tar or .zip of PNG, JPEG, TIFF, .npy or MSTAR files, a .csv of their paths, or a .npz of images"
    endings: ClassVar[frozenset[str]] = frozenset()
    inherited: ClassVar[tuple[str, ...]] = (
        "values",
        "stretch",
        "percentiles",
        "limits",
        "looks",
        "fit",
        "chip",
    )

    def holds(self, file: Path) -> bool:
        if not file.is_file():
            return False
        with file.open("rb") as start:
            return start.read(len(MSTAR)) == MSTAR

    def open(  # type: ignore[override]
        self, path: str | Path, config: RadarConfig, *, labels: bool = False, progress: Progress | None = None
    ) -> Source:
        if config.limit is not None and config.limit < 1:
            raise ConfigError(f"limit must be at least 1 image, got {config.limit}; leave it out to use all")
        asked = Asked(labels, 1, config.image_column, config.label_column, config.max_pixels)
        files = first_that_opens(str(path), asked, RADAR_OPENERS)
        if len(files) == 0:
            raise DataError(f"{path} holds no radar images")
        if isinstance(files, FolderSource | ArchiveSource | CsvSource):
            files.max_pixels = config.max_pixels
        if labels and config.classes == "top" and isinstance(files, FolderSource):
            first = [files.identity(i).partition("/")[0] for i in range(len(files))]
            files.labels, files.class_names = encode_labels(np.array(first), str(path))
        found = RadarSource(files, config)
        return found if config.limit is None or config.limit >= len(found) else Subset(found, config.limit)

    def given(self, x: Any, config: Any, shape: Any = None) -> Source:
        if isinstance(x, Source):
            return x
        if isinstance(x, str | Path):
            return self.open(x, config)
        return RadarSource(super().given(x, replace(config, mean=(0.0,), std=(1.0,)), (1,)), config)

    def inspect(self, source: Source, config: ImageConfig) -> DataReport:
        return replace(inspect(source), noun=self.noun)

    def settle(self, source: Source, config: Any) -> tuple[Source, Any]:
        whole = source.source if isinstance(source, Subset) else source
        return source, replace(config, limits=whole.limits) if isinstance(whole, RadarSource) else config

    def dataset(self, source: Source, config: Any) -> RadarDataset:
        return RadarDataset(source, config)

    def seen(self, config: Any) -> Any:
        return config


def _folder(place: str, asked: Asked) -> Source | None:
    folder = Path(place).expanduser()
    if not folder.is_dir():
        return None
    files = [name for name in find_files(folder, None) if is_radar_name(name)]
    return FolderSource(folder, files, asked.labels) if files else None


def _archive(place: str, asked: Asked) -> Source | None:
    path = Path(place).expanduser()
    index = {".tar": tar_index, ".zip": zip_index}.get(path.suffix.lower())
    if index is None or not path.is_file():
        return None
    return ArchiveSource(
        [path], index, asked.image_column, asked.label_column, asked.labels, is_image=is_radar_name
    )


def _table(place: str, asked: Asked) -> Source | None:
    path = Path(place).expanduser()
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return None
    return CsvSource(path, asked.image_column, asked.label_column, asked.labels)


def _arrays(place: str, asked: Asked) -> Source | None:
    path = Path(place).expanduser()
    if path.suffix.lower() != ".npz" or not path.is_file():
        return None
    return open_npz(path, 1, asked.labels, asked.max_pixels)


RADAR_OPENERS = (
    Opener("a folder of radar images (PNG, JPEG, TIFF, .npy, MSTAR)", _folder),
    Opener("a .tar or .zip of them", _archive),
    Opener("a .csv or .tsv of paths", _table),
    Opener("a .npz of amplitudes", _arrays),
)
"""The kinds of storage radar images are read from, in the order in which they are tried."""
