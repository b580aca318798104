"""The images a page shows, and how many of them a model of this size can afford to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from anyjepa.config import from_dict
from anyjepa.contract import Method
from anyjepa.data import ImageConfig, ImageDataset, Source, load_all, open_source
from anyjepa.errors import ConfigError, DataError
from anyjepa.report.pixels import colours
from anyjepa.report.record import Record

SHOWN = 8
"""Images that are shown."""
SOME = 64
"""Images that maps are fitted on, those that are shown among them."""
POOL = (256, 2000)
"""Least and most images among which neighbours are looked for."""
BUDGET = 3e11
"""Multiplications the search for neighbours may take: some ten seconds of one core. Below the least pool it is exceeded."""


@dataclass(frozen=True)
class Samples:
    """Images of one source, from its middle crops.

    Attributes:
        dataset: where they come from.
        where: its path, in words.
        pool: indices of the images among which neighbours are looked for, ascending.
        index: (S,) indices of some of these, which maps are fitted on.
        images: (S, C, H, W) those images, normalised.
        shown: positions within ``index`` of the images that are shown.
    """

    dataset: ImageDataset
    where: str
    pool: Int[np.ndarray, "P"]
    index: Int[np.ndarray, "S"]
    images: Float[Tensor, "S C H W"]
    shown: Int[np.ndarray, "V"]

    def pictures(self) -> UInt8[np.ndarray, "V H W 3"]:
        """The images that are shown, as people see them."""
        return colours(self.images[self.shown], self.dataset.config)

    def name(self, index: int) -> str:
        """What an image is called: its class, where it has one, and its name in the source."""
        label, names = self.dataset.source.label(index), self.dataset.source.class_names
        identity = self.dataset.source.identity(index)
        return (
            identity if label is None else f"{names[int(label)] if names else f'label {label:g}'}, {identity}"
        )


def open_samples(record: Record, method: Method, data: str | None, pool: int | None) -> Samples:
    """Images for the page.

    Args:
        record: the run; its own data are taken where ``data`` is None.
        method: gives the shape of the images and the cost of one.
        data: other data.
        pool: images among which neighbours are looked for; None: as many as the model can afford.

    Raises:
        DataError: the data are gone, of another shape, or too few of them can be read.
    """
    shape = method.input_shape()
    if len(shape) != 3:
        raise DataError(f"pictures are drawn of images (C, H, W), this method takes samples of shape {shape}")
    config = image_config(record)
    where = data or trained_on(record)
    if data is not None:
        config = replace(config, limit=None, image_column=None, label_column=None)
    dataset = ImageDataset(_open(where, config, shape[0]), config, size=(shape[1], shape[2]))
    if dataset.shape != shape:
        raise DataError(f"{where} gives samples of shape {dataset.shape}, the model expects {shape}")
    chosen = _evenly(np.arange(len(dataset)), pool or affordable(method))
    loaded = list(load_all(dataset, _evenly(chosen, SOME), batch_size=SOME))
    if not loaded:
        raise DataError(f"not one of the images looked at in {where} can be read")
    index, images = loaded[0].index.numpy(), loaded[0].inputs
    return Samples(dataset, where, chosen, index, images, _evenly(np.arange(len(index)), SHOWN))


def image_config(record: Record) -> ImageConfig:
    """How the run's images became batches; raises ConfigError where its config is not one."""
    values = record.get("images") or {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"the key 'images' of the run's config must be a group of keys, got {values!r}")
    return from_dict(ImageConfig, dict(values))


def trained_on(record: Record) -> str:
    """Where the run's data are; raises DataError where it does not say."""
    where = record.get("data")
    if not isinstance(where, str):
        raise DataError("the run does not say what it was trained on; --data names other images to draw")
    return where


def _open(where: str, config: ImageConfig, channels: int) -> Source:
    """With labels where there are any: neighbours can then be counted."""
    options: dict[str, Any] = dict(
        channels=config.channels or channels,
        image_column=config.image_column,
        label_column=config.label_column,
        limit=config.limit,
    )
    try:
        return open_source(where, labels=True, **options)
    except DataError:
        return open_source(where, **options)


def affordable(method: Method) -> int:
    """How many images the search for neighbours reads: fewer for a larger model."""
    weights = sum(p.numel() for p in method.parameters())
    _, height, width = method.input_shape()
    # A token for each 8 x 8 pixels is a guess between the patches of small and of large models.
    cost = 2.0 * weights * max(16, height * width / 64)
    return int(np.clip(BUDGET / cost, *POOL))


def _evenly(values: Int[np.ndarray, "N"], count: int) -> Int[np.ndarray, "_"]:
    count = min(count, len(values))
    return values[np.arange(count) * len(values) // max(1, count)]
