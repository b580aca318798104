"""Images, or frames of clips, with a mask beside each that says what every pixel shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from anyjepa.data.arrays import ArraySource
from anyjepa.data.base import Source
from anyjepa.data.decode import pixel_limit
from anyjepa.data.files import regular
from anyjepa.data.folder import FolderSource, find_files, list_images
from anyjepa.data.formats import open_image
from anyjepa.data.images import ImageConfig, ImageDataset
from anyjepa.data.npz import npz_axes, read_npz
from anyjepa.errors import DataError
from anyjepa.views.boxes import centre_boxes

IGNORE = 255
"""Number in a mask of pixels that count nowhere."""
MASK_ENDINGS = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif"})
"""Formats that keep the numbers of a mask; JPEG does not."""
IMAGES = "a folder with images/NAME.jpg and masks/NAME.png, or an .npz with the arrays images and masks"
CLIPS = (
    "a folder with frames/CLIP/NAME.jpg and masks/CLIP/NAME.png (or JPEGImages/480p and Annotations/480p), or an .npz with the "
    "arrays frames (clips, T, H, W, C) and masks (clips, T, H, W)"
)
FRAME_FOLDERS = ((("frames",), ("masks",)), (("JPEGImages", "480p"), ("Annotations", "480p")))


@dataclass(frozen=True)
class MaskedImages:
    """Images and their masks.

    Attributes:
        images: the images as a model takes them.
        masks: arrays (n, h, w), or the path of each image's mask.
    """

    images: ImageDataset
    masks: Any

    def __len__(self) -> int:
        return len(self.images)

    def read(self, i: int) -> tuple[Float[Tensor, "C H W"], Int[np.ndarray, "H W"]]:
        """Image ``i`` as a model takes it, and its mask, cut and scaled alike (the nearest number, none is mixed).

        Raises:
            DataError: one of them cannot be read, or their sizes differ.
        """
        name = self.images.source.identity(i)
        image = self.images.source.read(i)
        mask = np.asarray(self.masks[i]) if isinstance(self.masks, np.ndarray) else read_mask(self.masks[i])
        if mask.shape != tuple(image.shape[1:]):
            raise DataError(f"the mask of {name} has {mask.shape} pixels, the image {tuple(image.shape[1:])}")
        return self.images.finish([image])[0], centre_mask(mask, self.images.size)

    def batches(
        self, indices: Any, batch_size: int
    ) -> Iterator[tuple[Float[Tensor, "B C H W"], Int[np.ndarray, "B H W"]]]:
        """Some of them in order, in batches."""
        chosen = [int(i) for i in indices]
        for start in range(0, len(chosen), batch_size):
            pairs = [self.read(i) for i in chosen[start : start + batch_size]]
            yield torch.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])


def open_masked(path: str | Path, config: ImageConfig) -> MaskedImages:
    """Images with masks.

    Args:
        path: a folder with the folders ``images`` and ``masks``, whose files have the same names but for the ending; or an
            .npz with the arrays ``images`` and ``masks`` (n, h, w).
        config: how images are read; its size must be set.

    Raises:
        DataError: something else lies there, or an image has no mask.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return _folders(place, place / "images", place / "masks", config, IMAGES)
    _refuse_other(place, ("images", "masks"), IMAGES)
    masks = _whole(read_npz(place, "masks"), place)
    source = ArraySource(lambda: read_npz(place, "images"), str(place), config.channels)
    if masks.ndim != 3 or len(masks) != len(source):
        raise DataError(f"{place}: masks must be (n, h, w) with n = {len(source)} images, got {masks.shape}")
    return MaskedImages(_dataset(source, config), masks)


def open_clips(path: str | Path, config: ImageConfig) -> list[tuple[str, MaskedImages]]:
    """Clips with a mask of every frame, each under its name, its frames in order.

    Args:
        path: a folder as of DAVIS: frames and masks in one folder per clip; or an .npz with the arrays ``frames``
            (clips, T, h, w) or (clips, T, h, w, C) and ``masks`` (clips, T, h, w).
        config: how frames are read; its size must be set.

    Raises:
        DataError: something else lies there, or a frame has no mask.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        for names in FRAME_FOLDERS:
            frames, masks = (place.joinpath(*name) for name in names)
            if frames.is_dir():
                clips = sorted(p for p in frames.iterdir() if p.is_dir() and not p.name.startswith("."))
                found = [(p.name, _folders(place, p, masks / p.name, config, CLIPS)) for p in clips]
                if found:
                    return found
        raise DataError(f"{place} holds no clips with masks: expected {CLIPS}")
    _refuse_other(place, ("frames", "masks"), CLIPS)
    arrays, labels = read_npz(place, "frames"), _whole(read_npz(place, "masks"), place)
    if labels.ndim != 4 or arrays.shape[:4] != labels.shape:
        raise DataError(
            f"{place}: masks must be (clips, T, h, w) and frames have these axes first, got {labels.shape} and {arrays.shape}"
        )
    found = []
    for i, (clip, mask) in enumerate(zip(arrays, labels, strict=True)):
        source = ArraySource(lambda clip=clip: clip, f"{place}, clip {i}", config.channels)  # type: ignore[misc]
        found.append((str(i), MaskedImages(_dataset(source, config), mask)))
    return found


def read_mask(path: Path) -> Int[np.ndarray, "h w"]:
    """The numbers of a mask; of a picture with a palette the places in it.

    Raises:
        DataError: it cannot be read, or its pixels are colours and no numbers.
    """
    try:
        with open_image(regular(path)) as image:
            if image.width * image.height > pixel_limit(None):
                raise DataError(f"{image.width} x {image.height} pixels are more than the safe limit")
            mode, values = image.mode, np.asarray(image)
    except Exception as error:  # decoders fed with broken bytes raise anything
        raise DataError(f"cannot read mask {path}: {error or type(error).__name__}") from error
    if mode not in ("1", "L", "P", "I") and not mode.startswith("I;16"):
        raise DataError(
            f"the mask {path} has colours (mode {mode}): a mask is a picture of one number per pixel, grey or with a palette"
        )
    return values.astype(np.int64)


def centre_mask(mask: Integer[np.ndarray, "h w"], size: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """The middle of a mask at ``size``, as :func:`~anyjepa.data.transforms.resize_centre` cuts images: nearest pixels."""
    top, left, height, width = centre_boxes(mask.shape[:1], mask.shape[1:], size[1] / size[0])[0].tolist()
    rows = top + (np.arange(size[0]) * 2 + 1) * height // (2 * size[0])
    columns = left + (np.arange(size[1]) * 2 + 1) * width // (2 * size[1])
    return mask[np.ix_(rows, columns)].astype(np.int64)


def _folders(place: Path, images: Path, masks: Path, config: ImageConfig, expected: str) -> MaskedImages:
    if not images.is_dir() or not masks.is_dir():
        raise DataError(f"{place} holds no images with masks: expected {expected}")
    files = list_images(images)
    if not files:
        raise DataError(f"{images} holds no images")
    known = {Path(name).with_suffix("").as_posix(): masks / name for name in find_files(masks, MASK_ENDINGS)}
    stems = [Path(name).with_suffix("").as_posix() for name in files]
    missing = [stem for stem in stems if stem not in known]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} images in {images} have no mask in {masks}, the first is '{missing[0]}': expected "
            f"{expected}"
        )
    source = FolderSource(images, files)
    source.channels, source.max_pixels = config.channels or 3, config.max_pixels
    return MaskedImages(_dataset(source, config), [known[stem] for stem in stems])


def _dataset(source: Source, config: ImageConfig) -> ImageDataset:
    return ImageDataset(source, config)


def _refuse_other(place: Path, keys: tuple[str, str], expected: str) -> None:
    if place.suffix.lower() != ".npz":
        raise DataError(f"{place} holds no masks: expected {expected}")
    found = npz_axes(place)
    if not set(keys) <= set(found):
        raise DataError(f"{place} has the arrays {', '.join(sorted(found))}: expected {expected}")


def _whole(masks: np.ndarray, place: Path) -> np.ndarray:
    if masks.dtype.kind not in "biu":
        raise DataError(f"{place}: masks are whole numbers, got {masks.dtype}")
    return masks
