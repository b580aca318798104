"""The samples a page shows, and how many of them a model of this size can afford to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8

from anyjepa.bundle import Inputs, blank, described
from anyjepa.config import from_dict, to_dict
from anyjepa.contract import Method
from anyjepa.data import Dataset, Source, load_all
from anyjepa.data.modalities import modality
from anyjepa.data.modality import Modality
from anyjepa.errors import ConfigError, DataError
from anyjepa.registry import entry
from anyjepa.report.pixels import colours
from anyjepa.report.record import Record

SHOWN = 8
"""Samples that are shown."""
SOME = 64
"""Samples that maps are fitted on, those that are shown among them."""
POOL = (256, 2000)
"""Least and most samples among which neighbours are looked for."""
BUDGET = 3e11
"""Multiplications the search for neighbours may take: some ten seconds of one core. Below the least pool it is exceeded."""


@dataclass(frozen=True)
class Samples:
    """Samples of one source, as evaluation sees them.

    Attributes:
        dataset: where they come from.
        modality: what they are.
        where: its path, in words.
        pool: indices of the samples among which neighbours are looked for, ascending.
        index: (S,) indices of some of these, which maps are fitted on.
        inputs: those S samples, as methods see them.
        shown: positions within ``index`` of the samples that are shown.
    """

    dataset: Dataset
    modality: Modality
    where: str
    pool: Int[np.ndarray, "P"]
    index: Int[np.ndarray, "S"]
    inputs: Inputs
    shown: Int[np.ndarray, "V"]

    def pictures(self) -> UInt8[np.ndarray, "V H W 3"]:
        """The images that are shown, as people see them."""
        return colours(self.inputs[self.shown], self.dataset.config)

    def name(self, index: int) -> str:
        """What a sample is called: its class, where it has one, and its name in the source."""
        label, names = self.dataset.source.label(index), self.dataset.source.class_names
        identity = self.dataset.source.identity(index)
        return (
            identity if label is None else f"{names[int(label)] if names else f'label {label:g}'}, {identity}"
        )


def open_samples(record: Record, method: Method, data: str | None, pool: int | None) -> Samples:
    """Samples for the page.

    Args:
        record: the run; its own data are taken where ``data`` is None.
        method: gives the shape of the samples and the cost of one.
        data: other data.
        pool: samples among which neighbours are looked for; None: as many as the model can afford.

    Raises:
        DataError: the data are gone, of another shape, or too few of them can be read.
    """
    shape = method.input_shape()
    kind, config = reading_of(record)
    where = data or trained_on(record)
    if data is not None:
        plain = to_dict(config)
        plain.update({name: None for name in ("limit", "image_column", "label_column") if name in plain})
        config = from_dict(kind.config, plain, f"{kind.name}.")
    config = kind.suit(config, shape)
    dataset = kind.dataset(_open(where, kind, config), config)
    if dataset.shape != shape:
        raise DataError(
            f"{where} gives samples of shape {described(dataset.shape)}, the model expects {described(shape)}"
        )
    chosen = _evenly(np.arange(len(dataset)), pool or affordable(method))
    loaded = list(load_all(dataset, _evenly(chosen, SOME), batch_size=SOME))
    if not loaded:
        raise DataError(f"not one of the {kind.noun} looked at in {where} can be read")
    index, inputs = loaded[0].index.numpy(), loaded[0].inputs
    return Samples(dataset, kind, where, chosen, index, inputs, _evenly(np.arange(len(index)), SHOWN))


def reading_of(record: Record) -> tuple[Modality, Any]:
    """The run's kind of data, and how its samples became batches; raises ConfigError where its config does not say."""
    name = record.get("method")
    if not isinstance(name, str):
        raise ConfigError("the run's config does not say which method it is of")
    kind = modality(entry(name).modality)
    values = record.get(kind.name) or {}
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"the key '{kind.name}' of the run's config must be a group of keys, got {values!r}"
        )
    return kind, from_dict(kind.config, dict(values), f"{kind.name}.")


def trained_on(record: Record) -> str:
    """Where the run's data are; raises DataError where it does not say."""
    where = record.get("data")
    if not isinstance(where, str):
        raise DataError("the run does not say what it was trained on; --data names other images to draw")
    return where


def _open(where: str, kind: Modality, config: Any) -> Source:
    """With labels where there are any: neighbours can then be counted."""
    try:
        return kind.open(where, config, labels=True)
    except DataError:
        return kind.open(where, config)


def affordable(method: Method) -> int:
    """How many samples the search for neighbours reads: fewer for a larger model."""
    weights = sum(p.numel() for p in method.parameters())
    with torch.no_grad():
        tokens = method.encode(blank(method.input_shape())).layout.tokens
    cost = 2.0 * weights * max(16, tokens)
    return int(np.clip(BUDGET / cost, *POOL))


def _evenly(values: Int[np.ndarray, "N"], count: int) -> Int[np.ndarray, "_"]:
    count = min(count, len(values))
    return values[np.arange(count) * len(values) // max(1, count)]
