"""Images as a kind of data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from anyjepa.data.arrays import ArraySource
from anyjepa.data.base import Source
from anyjepa.data.formats import EXTENSIONS
from anyjepa.data.given import as_source
from anyjepa.data.images import ImageConfig, ImageDataset
from anyjepa.data.modality import Modality, Progress
from anyjepa.data.report import DataReport, inspect
from anyjepa.data.sources import open_source
from anyjepa.errors import ConfigError, DataError


class Images(Modality):
    """Pictures of any size: photographs, scans, bands of satellites."""

    name = "images"
    noun = "images"
    config: ClassVar[type] = ImageConfig
    opens = f"a folder ({', '.join(sorted(EXTENSIONS))}), .parquet, .csv, .tar, .zip, .npy, .npz, hf:NAME or 'digits'"
    endings = EXTENSIONS
    axes = "channels, height, width"
    inherited: ClassVar[tuple[str, ...]] = ("mean", "std")

    def open(
        self, path: str | Path, config: ImageConfig, *, labels: bool = False, progress: Progress | None = None
    ) -> Source:
        return open_source(
            path,
            labels=labels,
            channels=config.channels,
            image_column=config.image_column,
            label_column=config.label_column,
            limit=config.limit,
            max_pixels=config.max_pixels,
        )

    def given(self, x: Any, config: ImageConfig, shape: tuple[int, ...] | None = None) -> Source:
        source = as_source(x, shape[0] if shape else config.channels)
        if isinstance(source, ArraySource) and not (config.mean or config.std):
            _check_range(np.asarray(x))
        return source

    def inspect(self, source: Source, config: ImageConfig) -> DataReport:
        return inspect(source)

    def shape(self, source: Source, config: ImageConfig, report: DataReport) -> tuple[int, ...]:
        return (source.channels, *ImageConfig.sides(config.size or report.default_size))

    def place(self, model: Any, source: Source, config: ImageConfig) -> Any:
        if config.size and getattr(model, "image_size", config.size) is None:
            model = replace(model, image_size=ImageConfig.sides(config.size))
        return model.normalised(config.mean, config.std) if hasattr(model, "normalised") else model

    def suit(self, config: ImageConfig, shape: tuple[int, ...]) -> ImageConfig:
        if len(shape) != 3:
            raise ConfigError(
                f"the method takes samples of shape {shape}, not images (channels, height, width)"
            )
        if config.size and shape[1:] != ImageConfig.sides(config.size):
            raise ConfigError(
                f"{self.name}.size={config.size}, but the model expects {shape[1:]}: leave one of the two out"
            )
        # A run on colour also reads grey images, and the other way round.
        return replace(config, size=(shape[1], shape[2]), channels=shape[0])

    def dataset(self, source: Source, config: ImageConfig) -> ImageDataset:
        return ImageDataset(source, config)

    def seen(self, config: ImageConfig) -> Any:
        return (config.mean, config.std, config.image_column, config.label_column)


def _check_range(array: np.ndarray) -> None:
    if array.dtype.kind == "f" and (array.min() < 0 or array.max() > 1):
        raise DataError(
            f"X reaches from {array.min():.4g} to {array.max():.4g}; floats must lie in 0..1: divide, e.g. X / X.max(), or say "
            'how to normalise them with options={"images": {"mean": [...], "std": [...]}}'
        )
