"""Images as training and evaluation batches: crop, resize, normalise."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.data.base import Source
from anyjepa.data.dataset import Dataset, Indices
from anyjepa.data.sources import open_source
from anyjepa.data.transforms import crop_resize, flips, resize_centre
from anyjepa.errors import ConfigError
from anyjepa.normalisation import IMAGENET_MEAN, IMAGENET_STD, constants
from anyjepa.views.boxes import crop_boxes

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "ImageConfig", "ImageDataset"]


@dataclass(frozen=True)
class ImageConfig:
    """How images become batches. Defaults: I-JEPA (arXiv 2301.08243, official configs)."""

    size: int | tuple[int, int] | None = None
    """Side, or height and width, in pixels of what the model sees; None: chosen from the data."""
    channels: int | None = None
    """1 grey, 3 colour, or the number of bands each image has; None: as the data are."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Least and largest share of the image's area in a training crop (`crop_scale`)."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width/height of a training crop (torchvision's default, which I-JEPA uses)."""
    flip: bool = False
    """Mirror half of the training crops (`use_horizontal_flip`; false in all I-JEPA configs)."""
    mean: tuple[float, ...] | None = None
    """Channel means in 0..1 taken off; None: ImageNet's for 3 channels, 0.5 otherwise."""
    std: tuple[float, ...] | None = None
    """Channel standard deviations divided by; None: ImageNet's for 3 channels, 0.5 otherwise."""
    image_column: str | None = None
    """Column of the images in tables, or ending of the image in tar archives; None: found by type and name."""
    label_column: str | None = None
    """Column of the labels in tables, or key of the label in the .json of tar archives; None: found by name."""
    max_pixels: int | None = None
    """Images of more pixels are broken, as they may be decompression bombs; None: Pillow's limit, 89 million."""
    max_broken: float = 0.1
    """Largest share of images that may be unreadable; each is replaced by the next readable one."""
    limit: int | None = None
    """Use that many images, evenly spread over all; None: all."""

    def __post_init__(self) -> None:
        sides = () if self.size is None else self.sides(self.size)
        if any(side < 1 for side in sides):
            raise ConfigError(f"size must be at least 1 pixel, got {self.size}")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ConfigError(
                f"crop_scale must be (low, high) with 0 < low <= high <= 1, got {self.crop_scale}"
            )
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise ConfigError(f"crop_aspect must be (low, high) with 0 < low <= high, got {self.crop_aspect}")
        if not 0 <= self.max_broken <= 1:
            raise ConfigError(f"max_broken is a share in 0..1, got {self.max_broken}")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ConfigError(
                f"max_pixels must be at least 1, got {self.max_pixels}; leave it out for Pillow's limit"
            )
        if self.std is not None and min(self.std) <= 0:
            raise ConfigError(f"std must be positive, got {self.std}")

    @staticmethod
    def sides(size: int | tuple[int, int]) -> tuple[int, int]:
        """Height and width of a size given as one side or two."""
        return (size, size) if isinstance(size, int) else (size[0], size[1])


class ImageDataset(Dataset):
    """Batches of images: random resized crops for training, the middle of each for evaluation.

    Args:
        source: the images; see :func:`~anyjepa.data.sources.open_source`.
        config: how they become batches.
        size: overrides ``config.size``; one of them must be given.
    """

    noun = "images"
    config: ImageConfig

    def __init__(
        self, source: Source, config: ImageConfig | None = None, size: int | tuple[int, int] | None = None
    ) -> None:
        super().__init__(source, config or ImageConfig())
        wanted = size if size is not None else self.config.size
        if wanted is None:
            raise ConfigError("the image size is not set: give size, e.g. the report's default_size")
        self.size = ImageConfig.sides(wanted)
        if self.config.channels not in (None, source.channels):
            raise ConfigError(
                f"channels={self.config.channels} was set, but the source gives {source.channels}"
            )
        # 0..255: what crop_resize gives
        self._mean, self._std = (
            255 * np.array(values, dtype=np.float32).reshape(-1, 1, 1)
            for values in constants(source.channels, self.config.mean, self.config.std)
        )

    @classmethod
    def open(
        cls,
        path: str | Path,
        config: ImageConfig,
        size: int | tuple[int, int] | None = None,
        labels: bool = False,
    ) -> ImageDataset:
        """The data set behind a path, with the columns, channels and limit of ``config``."""
        source = open_source(
            path,
            labels=labels,
            channels=config.channels,
            image_column=config.image_column,
            label_column=config.label_column,
            limit=config.limit,
            max_pixels=config.max_pixels,
        )
        return cls(source, config, size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one sample."""
        return (self.source.channels, *self.size)

    def draw(self, step: int, indices: Indices, seed: int) -> Float[Tensor, "B C H W"]:
        """Training batch: random resized crops, normalised. Row b depends on seed, step, indices[b] only."""
        index = np.asarray(indices, dtype=np.int64)
        images = self.prepared([self.read(i)[0] for i in index.tolist()], step, index, seed)
        heights, widths = [image.shape[1] for image in images], [image.shape[2] for image in images]
        boxes = crop_boxes(
            seed, step, index, heights, widths, self.config.crop_scale, self.config.crop_aspect
        )
        batch = crop_resize(images, boxes, self.size)
        if self.config.flip:
            mirrored = torch.from_numpy(flips(seed, step, index))
            batch[mirrored] = batch[mirrored].flip(-1)
        return self.varied_further(self._normalise(batch), step, index, seed)

    def prepared(self, images: list[Tensor], step: int, index: np.ndarray, seed: int) -> list[Tensor]:
        """Images as training crops are taken of them; as they are unless a kind of images does something first."""
        return images

    def varied_further(self, batch: Tensor, step: int, index: np.ndarray, seed: int) -> Tensor:
        """Training crops, normalised, with what else a kind of images changes about them; nothing unless overridden."""
        return batch

    def cropped(self, scale: tuple[float, float]) -> ImageDataset:
        """The same with crops of this least and largest share of the area."""
        found = copy.copy(self)
        found.config = replace(self.config, crop_scale=scale)
        return found

    def finish(self, samples: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """The middle of each image at full scale, normalised."""
        return self._normalise(resize_centre(samples, self.size))

    def _normalise(self, batch: Tensor) -> Tensor:
        pixels = batch.numpy()  # in place and without torch's threads, as in crop_resize
        pixels -= self._mean
        pixels /= self._std
        return batch
