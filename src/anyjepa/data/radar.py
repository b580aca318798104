"""Radar images as batches: amplitudes to 0..1, chips of any size, speckle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.data.base import EncodedSource, Source
from anyjepa.data.images import ImageConfig, ImageDataset
from anyjepa.data.near_duplicates import near_duplicates, thumbnails
from anyjepa.data.radar_files import Amplitude, read_amplitude
from anyjepa.data.speckle import multilook, speckled, speckled_alike, unit
from anyjepa.data.transforms import crop_resize, resize_centre
from anyjepa.errors import ConfigError, DataError
from anyjepa.randomness import derive_seed, uniform
from anyjepa.views.colour import contrast

_LOOK_AT = 64
"""Images whose values tell the range of a data set."""
_PER_IMAGE = 4096
"""Values of each of them that are looked at."""


@dataclass(frozen=True)
class RadarConfig(ImageConfig):
    """How radar images become batches. Defaults: SAR-JEPA (arXiv 2311.15153, official code)."""

    channels: int | None = 1
    """Radar amplitudes have one channel."""
    crop_scale: tuple[float, float] = (0.2, 1.0)
    """Least and largest share of the image's area in a training crop; a crop never reaches beyond the image."""
    flip: bool = True
    """Mirror half of the training crops."""
    mean: tuple[float, ...] | None = (0.0,)
    """Taken off: nothing, since ratios need values of at least 0."""
    std: tuple[float, ...] | None = (1.0,)
    """Divided by: nothing."""
    contrast: tuple[float, float] = (0.5, 1.5)
    """Distances to the mean of a training crop times a factor in this range; (1, 1): left alone."""
    values: Literal["amplitude", "db"] = "amplitude"
    """Amplitudes as they are, or 20 log10 of them (never below 1e-6 of the brightest) before they are stretched."""
    stretch: Literal["auto", "none", "image", "data"] = "auto"
    """How values reach 0..1. none: 8 and 16 bits by their white, floats as they are; image: the percentiles of each image; data:
    those of the data set; auto: none for 8 and 16 bits, image for floats and complex numbers, and for decibels."""
    percentiles: tuple[float, float] = (0.0, 99.5)
    """Of the values, what becomes 0 and 1 when they are stretched; all beyond is cut."""
    limits: tuple[float, float] | None = None
    """With stretch=data, the values that become 0 and 1; None: found in the training data, and kept with the run."""
    looks: int = 1
    """Average the intensity of blocks of so many pixels a side."""
    fit: Literal["cut", "squeeze", "crop", "pad"] = "cut"
    """How a chip becomes a square for evaluation. cut: the longer side is cut; squeeze: both sides are resized; crop: the middle
    `chip` pixels, which keeps the size of a chip from telling its class (MSTAR: 128); pad: the shorter side is
    mirrored outwards."""
    chip: int = 128
    """Pixels a side of the middle with fit=crop; smaller images are mirrored outwards. Training crops are taken from it too."""
    speckle: tuple[float, float] | None = None
    """Least and largest number of looks of the speckle that is laid on training images; None: none."""
    test_speckle: float | None = None
    """Looks of the speckle that is laid on images for evaluation, the same whenever one is read; None: none."""
    classes: Literal["nearest", "top"] = "nearest"
    """The label in folders: that around the file, or the first below the data (serial numbers of a vehicle within its type)."""
    clusters: float | None = None
    """With labels: images whose thumbnails, turned or mirrored, correlate more than this are one group, of which none is in
    training and in a test. 0.8 suits chips that were augmented before they were published. None: every image is its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in (None, 1):
            raise ConfigError(f"radar.channels must be 1, got {self.channels}")
        for name, low in (("contrast", 0.0), ("speckle", 1e-3)):
            pair = getattr(self, name)
            if pair is not None and not low <= pair[0] <= pair[1]:
                raise ConfigError(f"radar.{name} must be (low, high) with {low:g} <= low <= high, got {pair}")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(f"radar.percentiles must ascend within 0..100, got {self.percentiles}")
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ConfigError(f"radar.limits must ascend, got {self.limits}")
        if self.looks < 1 or self.chip < 1:
            raise ConfigError(
                f"radar.looks and radar.chip must be at least 1, got {self.looks} and {self.chip}"
            )
        if self.test_speckle is not None and self.test_speckle <= 0:
            raise ConfigError(f"radar.test_speckle must be above 0 looks, got {self.test_speckle}")


class RadarSource(Source):
    """Radar images of an image source, or arrays of amplitudes, in 0..1.

    Args:
        files: where they lie; its own decoder is not used.
        config: how values are brought to 0..1.

    Attributes:
        limits: the values that become 0 and 1 with stretch=data.
    """

    channels = 1

    def __init__(self, files: Source, config: RadarConfig) -> None:
        self.files, self.config = files, config
        self.labels, self.class_names = files.labels, files.class_names
        self.limits = config.limits
        if config.stretch == "data" and self.limits is None:
            self.limits = self._found()
        if config.clusters is not None and files.labels is not None:
            self.groups = near_duplicates(thumbnails(self), config.clusters)

    def __len__(self) -> int:
        return len(self.files)

    def identity(self, i: int) -> str:
        return self.files.identity(i)

    def read(self, i: int) -> Tensor:
        found, c = self._stored(i), self.config
        plain = c.values == "amplitude" and c.looks == 1
        if plain and c.stretch in ("auto", "none") and (found.white or c.stretch == "none"):
            return torch.from_numpy(found.values[None])
        values = self._values(found)
        if c.stretch == "none" or (c.stretch == "auto" and found.white and c.values == "amplitude"):
            return torch.from_numpy(values[None])
        low, high = np.percentile(values, c.percentiles) if self.limits is None else self.limits
        stretched = (values - low) / max(float(high - low), 1e-12)
        return torch.from_numpy(stretched.clip(0, 1).astype(np.float32)[None])

    def _stored(self, i: int) -> Amplitude:
        if isinstance(self.files, EncodedSource):
            return read_amplitude(self.files.encoded(i), self.identity(i), self.files.max_pixels)
        return Amplitude(self.files.read(i)[0].numpy(), True)

    def _values(self, found: Amplitude) -> Float[np.ndarray, "H W"]:
        values = found.values.astype(np.float32) / 255 if found.values.dtype == np.uint8 else found.values
        if self.config.looks > 1:
            if min(values.shape) < self.config.looks:
                raise DataError(
                    f"an image of {values.shape} pixels has no block of {self.config.looks} looks"
                )
            values = multilook(values, self.config.looks)
        if self.config.values == "db":
            values = 20 * np.log10(np.maximum(values, max(float(values.max()), 1e-30) * 1e-6))
        return values

    def _found(self) -> tuple[float, float]:
        kept = []
        rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), _LOOK_AT)).astype(int))
        for i in rows.tolist():
            try:
                values = self._values(self._stored(i)).reshape(-1)
            except DataError:
                continue
            kept.append(values[:: max(1, len(values) // _PER_IMAGE)])
        if not kept:
            raise DataError(f"none of the {len(rows)} radar images looked at can be read")
        low, high = np.percentile(np.concatenate(kept), self.config.percentiles)
        return float(low), float(max(high, low + 1e-12))


class RadarDataset(ImageDataset):
    """Batches of radar images: random resized crops with changes of contrast for training, whole chips for evaluation."""

    noun = "radar images"
    config: RadarConfig

    def prepared(self, images: list[Tensor], step: int, index: np.ndarray, seed: int) -> list[Tensor]:
        c = self.config
        if c.fit == "crop":
            images = [_middle(image, c.chip) for image in images]
        if c.speckle is None:
            return images
        low, high = np.log(c.speckle)
        looks = np.exp(low + (high - low) * uniform(seed, "data/looks", step, index, 1)[:, 0])
        return [
            speckled(unit(image), float(each), derive_seed(seed, "data/speckle", step, int(row)))
            for image, each, row in zip(images, looks, index, strict=True)
        ]

    def varied_further(self, batch: Tensor, step: int, index: np.ndarray, seed: int) -> Tensor:
        low, high = self.config.contrast
        if low == high == 1.0:
            return batch.clamp_(0, 1)
        factor = low + (high - low) * uniform(seed, "data/contrast", step, index, 1)[:, 0]
        return contrast(batch, torch.from_numpy(factor).float())

    def finish(self, samples: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """Whole chips as ``fit`` says, under the speckle that is asked for."""
        c = self.config
        if c.test_speckle is not None:
            samples = speckled_alike(samples, c.test_speckle)
        if c.fit == "cut":
            return self._normalise(resize_centre(samples, self.size)).clamp_(0, 1)
        if c.fit == "crop":
            samples = [_mirrored(_middle(image, c.chip), c.chip, c.chip) for image in samples]
        elif c.fit == "pad":
            samples = [_mirrored(image, *(max(image.shape[1:]),) * 2) for image in samples]
        boxes = np.array([[0, 0, *image.shape[1:]] for image in samples])
        return self._normalise(crop_resize(samples, boxes, self.size)).clamp_(0, 1)


def _middle(image: Tensor, side: int) -> Tensor:
    """The middle of an image, at most ``side`` pixels a side."""
    height, width = image.shape[1:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return image[:, top : top + side, left : left + side]


def _mirrored(image: Tensor, height: int, width: int) -> Tensor:
    """An image continued by its mirror images on all sides: black borders would be the strongest edges there are."""
    missing = [max(0, want - have) for want, have in zip((height, width), image.shape[1:], strict=True)]
    pads = [(0, 0), *((m // 2, m - m // 2) for m in missing)]
    return torch.from_numpy(np.pad(image.numpy(), pads, mode="symmetric"))
