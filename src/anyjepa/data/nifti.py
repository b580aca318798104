"""Series of regions from a 4-D NIfTI image and an atlas of labels, through nibabel and nilearn (the extra ``fmri``)."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from anyjepa.errors import DataError, MissingExtraError

ENDINGS = (".nii", ".nii.gz")
"""File name endings taken as brain images."""


@dataclass(frozen=True)
class ScanImage:
    """Mean of each region of one image.

    Attributes:
        values: (R, T), in the order of the labels; NaN for a region outside of the image.
        labels: the label of each region, ascending.
        tr: seconds from frame to frame as the header has it; None when it has none.
    """

    values: Float[np.ndarray, "R T"]
    labels: tuple[int, ...]
    tr: float | None


def find_images(folder: Path) -> list[Path]:
    """Brain images of a folder at any nesting, in the order of their names."""
    return sorted(f for f in folder.rglob("*") if f.name.lower().endswith(ENDINGS) and f.is_file())


def read_image(path: str | Path, atlas: str | Path) -> ScanImage:
    """Mean over the voxels of each label of an atlas, which is brought onto the grid of the image (nearest neighbour).

    A label without a voxel in the image is a region of NaN, never left out: all scans have the same regions.

    Args:
        path: a 4-D image.
        atlas: a 3-D image of whole numbers; 0 is no region. It must lie in the space of the image.

    Raises:
        DataError: a file cannot be read, has another shape, or atlas and image do not overlap.
        MissingExtraError: nibabel and nilearn are not there.
    """
    try:
        from nilearn.image import resample_to_img
    except ImportError as error:
        raise MissingExtraError("nilearn", "fmri") from error
    image, labels = _load(path), _load(atlas)
    if len(image.shape) != 4 or image.shape[3] < 1:
        raise DataError(f"{path} must be a 4-D image (x, y, z, frames), it has shape {image.shape}")
    if len(labels.shape) != 3:
        raise DataError(f"the atlas {atlas} must be a 3-D image of labels, it has shape {labels.shape}")
    known = np.unique(_values(labels, atlas))
    if not np.array_equal(known, np.rint(known)):
        raise DataError(f"the atlas {atlas} must hold whole numbers, one per region: this one has fractions")
    known = known[known != 0].astype(np.int64)
    if not len(known):
        raise DataError(f"the atlas {atlas} has no region")
    with warnings.catch_warnings():
        # Versions of nilearn announce new defaults of options that make no difference here.
        warnings.simplefilter("ignore")
        placed = resample_to_img(labels, image.slicer[..., 0], interpolation="nearest")
    number = np.rint(_values(placed, atlas)).astype(np.int64).reshape(-1)
    inside = number != 0
    region = np.searchsorted(known, number[inside])
    count = np.bincount(region, minlength=len(known))
    if not count.any():
        raise DataError(f"{path} and the atlas {atlas} do not overlap: they must lie in the same space")
    voxels = _values(image, path).reshape(-1, image.shape[3])[inside]
    totals = np.zeros((len(known), image.shape[3]))
    np.add.at(totals, region, voxels)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(count[:, None] > 0, totals / count[:, None], np.nan)
    return ScanImage(values.astype(np.float32), tuple(known.tolist()), _tr(image))


def _load(path: str | Path) -> Any:
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ImportError as error:
        raise MissingExtraError("nibabel", "fmri") from error
    try:
        return nibabel.load(path)
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"cannot read the image {path}: {error}") from error


def _values(image: Any, path: str | Path) -> np.ndarray:
    """All voxels; a file that ends too early is found only here."""
    try:
        return image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"cannot read the image {path}: {error}") from error


def _tr(image: Any) -> float | None:
    step = float(image.header.get_zooms()[3])
    unit = image.header.get_xyzt_units()[1]
    step *= {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    return step if step > 0 else None
