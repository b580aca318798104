"""What a source is: a numbered list of samples that may have labels; and what a source of images is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from anyjepa.data.decode import decode
from anyjepa.errors import DataError


class Source(ABC):
    """A numbered list of samples: images, recordings, scans. Subclass it for storage of your own; it must survive pickling to
    workers.

    Attributes:
        channels: C, the same for every sample.
        labels: (N,) class of each sample, or a measured value when they are fractions; None when labels are absent or were
            not asked for.
        class_names: name of each class in the order of its number, where the source knows names.
        groups: (N,) number of the person or thing that a sample is of, so that none is in training and in a test; None: each
            sample is of its own.
        group_names: name of each group in the order of its number, where the source knows names.
        label_sets: (N, K) which of several labels each sample has; None when there are none.
        label_names: their K names.
        folds: (N,) fold of the official split of the data, -1 where there is none; None: the data have none.
    """

    channels: int
    labels: Int[np.ndarray, "N"] | Float[np.ndarray, "N"] | None = None
    class_names: tuple[str, ...] | None = None
    groups: Int[np.ndarray, "N"] | None = None
    group_names: tuple[str, ...] | None = None
    label_sets: Bool[np.ndarray, "N K"] | None = None
    label_names: tuple[str, ...] = ()
    folds: Int[np.ndarray, "N"] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples N."""

    @abstractmethod
    def read(self, i: int) -> Any:
        """Sample ``i``: a tensor (C, ...), or what else the data set of its kind makes batches of; DataError names a broken one.

        Images are uint8 in 0..255, or float32 meant to lie in 0..1.
        """

    @abstractmethod
    def identity(self, i: int) -> str:
        """A name of sample ``i`` by which a person finds it: its path, or its row in a file."""

    def label(self, i: int) -> int | float | None:
        """Class or measured value of sample ``i``, or None without labels."""
        return None if self.labels is None else self.labels[i].item()

    @property
    def classes(self) -> int | None:
        """Number of classes, or None without labels."""
        if self.labels is None:
            return None
        return len(self.class_names) if self.class_names else len(np.unique(self.labels))


class EncodedSource(Source):
    """A source whose images are encoded files: it hands out their bytes, and decoding is done here.

    Attributes:
        channels: 1 or 3, or the number of bands that every image must have.
        max_pixels: images of more pixels are broken; None: Pillow's limit.
    """

    channels: int = 3
    max_pixels: int | None = None

    @abstractmethod
    def encoded(self, i: int) -> Any:
        """Path or buffer of image ``i``. DataError when there is none."""

    def read(self, i: int) -> Shaped[Tensor, "C H W"]:
        return decode(self.encoded(i), self.channels, self.identity(i), self.max_pixels)


class Subset(Source):
    """``limit`` samples of another source, evenly spread, so that one sorted by class keeps every class."""

    def __init__(self, source: Source, limit: int) -> None:
        self.source = source
        self.rows = (
            np.arange(min(limit, len(source)), dtype=np.int64) * len(source) // min(limit, len(source))
        )
        self.channels = source.channels
        self.labels = None if source.labels is None else source.labels[self.rows]
        self.class_names = source.class_names
        self.groups = None if source.groups is None else source.groups[self.rows]
        self.group_names = source.group_names

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, i: int) -> Tensor:
        return self.source.read(int(self.rows[i]))

    def identity(self, i: int) -> str:
        return self.source.identity(int(self.rows[i]))


def encode_labels(
    values: Sequence[Any] | np.ndarray, where: str
) -> tuple[Int[np.ndarray, "N"] | Float[np.ndarray, "N"], tuple[str, ...] | None]:
    """Labels as numbers, and the class names when they were text (numbered in sorted order).

    Classes are whole numbers; floats that are not all whole are measured values and stay floats.

    Args:
        values: N integers, floats, booleans or strings.
        where: what they are, for the error.

    Raises:
        DataError: values of another type, or missing ones.
    """
    array = np.asarray(values)
    if array.ndim == 1 and array.dtype.kind in "US":
        names, numbers = np.unique(array.astype(str), return_inverse=True)
        return numbers.astype(np.int64), tuple(names.tolist())
    if array.ndim == 1 and array.dtype.kind in "biuf":
        missing = int((~np.isfinite(array)).sum())
        if missing:
            raise DataError(
                f"{where}: {missing} of {len(array)} labels are not finite (NaN or infinite): leave those samples out"
            )
        whole = (array == np.floor(array)).all()
        return array.astype(np.int64 if whole else np.float64), None
    raise DataError(
        f"{where}: labels must be one number or one text per image, got {array.dtype} of shape"
        f" {array.shape}; name another column with label_column, or go on without labels"
    )
