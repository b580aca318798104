"""Files that say which object an image shows and from where: COIL's .mat, .npz, tables, and the folders of 3DIEBench."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from anyjepa.data.arrays import ArraySource
from anyjepa.data.base import Source
from anyjepa.data.folder import FolderSource, list_images
from anyjepa.data.npz import npz_axes, read_npz
from anyjepa.data.pose_source import Form, PoseSource
from anyjepa.data.rotations import from_euler
from anyjepa.data.sources import open_source
from anyjepa.data.views_config import ViewsConfig
from anyjepa.errors import DataError

USUAL = (("angle",), ("qx", "qy", "qz", "qw"), ("rx", "ry", "rz"))
"""Columns of poses that are found by themselves."""
LATENTS = ("floor_hue", "light_theta", "light_phi", "light_hue")
"""What follows three Euler angles in the latent files of 3DIEBench."""


def open_poses(path: str | Path, config: ViewsConfig, labels: bool) -> PoseSource | None:
    """Images with their objects and poses; None where a path holds images without.

    Raises:
        DataError: there are poses, but they cannot be read or do not fit the images.
    """
    place = Path(path).expanduser()
    ending = place.suffix.lower()
    if place.is_dir():
        return _folder(place, config, labels)
    if not place.is_file():
        return None
    readers = {".mat": _mat, ".npz": _npz, ".csv": _table, ".tsv": _table, ".parquet": _table}
    return readers[ending](place, config, labels) if ending in readers else None


def _mat(path: Path, config: ViewsConfig, labels: bool) -> PoseSource:
    """``X`` (N, side * side), column by column, and ``Y``: objects on a turntable, the views of each evenly around the circle."""
    pixels, numbers = (_mat_array(path, key) for key in ("X", "Y"))
    side = round(pixels.shape[-1] ** 0.5)
    if pixels.ndim != 2 or side * side != pixels.shape[1] or numbers.size != len(pixels):
        raise DataError(
            f"{path}: expected X (N, side x side) and Y (N, 1) of a turntable as in COIL-20, got X {pixels.shape} and Y "
            f"{numbers.shape}"
        )
    known = [f"object {n}" for n in np.unique(numbers)]
    objects = np.unique(numbers.ravel(), return_inverse=True)[1]
    images = ArraySource(
        partial(_mat_images, path), path.name, config.channels, objects if labels else None, config.max_pixels
    )
    if labels:
        images.class_names = tuple(known)
    order = np.argsort(objects, kind="stable")
    sizes = np.bincount(objects)
    angles = np.empty(len(objects))
    angles[order] = np.concatenate([2 * np.pi * np.arange(size) / size for size in sizes])
    return PoseSource(
        images, objects, tuple(known), partial(_look_up, angles[:, None]), "angle", hold_out=config.hold_out
    )


def _npz(path: Path, config: ViewsConfig, labels: bool) -> PoseSource | None:
    """Arrays ``images``, ``object`` and one of ``angle``, ``quaternion``, ``euler``; perhaps ``labels`` and ``values`` (N, K)."""
    axes = npz_axes(path)
    given = [key for key in ("angle", "quaternion", "euler") if key in axes]
    if config.object_column not in axes or not given:
        return None
    kind = given[0]
    raw = read_npz(path, kind)
    poses, form = _as_pose(raw.reshape(len(raw), -1), config.radians, f"{path}, {kind}")
    if "values" in axes:
        more = read_npz(path, "values")
        poses = np.concatenate([poses, more.reshape(len(more), -1)], axis=1)
    return _with_table(path, config, labels, read_npz(path, config.object_column), poses, form)


def _table(path: Path, config: ViewsConfig, labels: bool) -> PoseSource | None:
    """Columns of the image, the object and the pose."""
    try:
        if path.suffix.lower() == ".parquet":
            names = pq.read_schema(path).names
        else:
            separator = "\t" if path.suffix.lower() == ".tsv" else ","
            parse = pa.csv.ParseOptions(delimiter=separator)
            table = pa.csv.read_csv(path, parse_options=parse)
            names = table.column_names
        usual = [columns for columns in USUAL if set(columns) <= set(names)]
        pose = config.pose_columns or (usual[0] if usual else ())
        if not config.pose_columns and (not pose or config.object_column not in names):
            return None
        wanted = [config.object_column, *pose, *config.value_columns]
        missing = [name for name in wanted if name not in names]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}")
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path, columns=wanted)
        columns = [_numbers(table, name, path) for name in (*pose, *config.value_columns)]
        objects = np.array(table.column(config.object_column).to_pylist()).astype(str)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    poses, form = _as_pose(
        np.stack(columns[: len(pose)], axis=1), config.radians, f"{path}, {', '.join(pose)}"
    )
    poses = np.concatenate([poses, *(c[:, None] for c in columns[len(pose) :])], axis=1)
    return _with_table(path, config, labels, objects, poses, form)


def _folder(folder: Path, config: ViewsConfig, labels: bool) -> PoseSource | None:
    """The layout of 3DIEBench: CLASS/OBJECT/image_K.jpg with latent_K.npy beside each."""
    files = [name for name in list_images(folder) if Path(name).name.startswith("image_")]
    if not files or not _latent(folder, files[0]).is_file():
        return None
    unknown = [name for name in config.value_columns if name not in LATENTS]
    if unknown:
        raise DataError(f"the latent files of {folder} hold {', '.join(LATENTS)}, not {', '.join(unknown)}")
    images = FolderSource(folder, files)
    around = [Path(name).parent for name in files]
    if labels:
        classes = [place.parent.name or folder.name for place in around]
        names, images.labels = np.unique(classes, return_inverse=True)
        images.class_names = tuple(names.tolist())
    images.channels = config.channels or 3
    known, objects = np.unique([str(place) for place in around], return_inverse=True)
    chosen = [3 + LATENTS.index(name) for name in config.value_columns]
    read = partial(_read_latents, folder, pa.array(files, pa.large_string()), chosen)
    return PoseSource(
        images, objects, tuple(known.tolist()), read, "quaternion", len(chosen), config.hold_out
    )


def _latent(folder: Path, image: str) -> Path:
    path = folder / image
    return path.with_name(path.stem.replace("image_", "latent_") + ".npy")


def _read_latents(folder: Path, files: Any, chosen: list[int], rows: np.ndarray) -> np.ndarray:
    found = np.empty((len(rows), 7))
    for place, row in enumerate(rows.tolist()):
        path = _latent(folder, files[row].as_py())
        try:
            found[place] = np.load(path, allow_pickle=False)[:7]
        except Exception as error:  # NumPy fed with broken bytes raises what its parts raise
            raise DataError(f"cannot read the pose {path}: {error}") from error
    return np.concatenate([from_euler(found[:, :3]), found[:, chosen]], axis=1)


def _with_table(
    path: Path, config: ViewsConfig, labels: bool, objects: np.ndarray, poses: np.ndarray, form: Form
) -> PoseSource:
    images: Source = open_source(
        path,
        labels=labels,
        channels=config.channels,
        image_column=config.image_column,
        label_column=config.label_column,
        max_pixels=config.max_pixels,
    )
    if not len(images) == len(objects) == len(poses):
        raise DataError(
            f"{path} has {len(images)} images, {len(objects)} objects and {len(poses)} poses: expected one for each"
        )
    names, numbers = np.unique(objects.astype(str), return_inverse=True)
    values = poses.shape[1] - (4 if form == "quaternion" else 1)
    return PoseSource(
        images, numbers, tuple(names.tolist()), partial(_look_up, poses), form, values, config.hold_out
    )


def _as_pose(numbers: np.ndarray, radians: bool, where: str) -> tuple[np.ndarray, Form]:
    """Angles or quaternions from 1, 3 or 4 numbers each."""
    width = numbers.shape[1]
    if width not in (1, 3, 4) or numbers.dtype.kind not in "iuf":
        raise DataError(
            f"{where}: a pose is 1 angle, 3 Euler angles or 4 numbers of a quaternion, got {width} of {numbers.dtype}"
        )
    numbers = numbers.astype(np.float64)
    if width == 4:
        return numbers, "quaternion"
    numbers = numbers if radians else np.deg2rad(numbers)
    return (numbers, "angle") if width == 1 else (from_euler(numbers), "quaternion")


def _numbers(table: pa.Table, name: str, path: Path) -> np.ndarray:
    column = table.column(name)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"{path}: column '{name}' must hold numbers, got {column.type}")
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _look_up(poses: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return poses[rows]


def _mat_array(path: Path, key: str) -> np.ndarray:
    # SciPy comes with scikit-learn.
    from scipy.io import loadmat

    try:
        found = loadmat(path, variable_names=[key], chars_as_strings=False).get(key)
    except Exception as error:  # SciPy fed with broken bytes raises what its parts raise
        raise DataError(f"cannot read {path} as a MATLAB file: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
        raise DataError(f"{path} has no array of numbers '{key}': expected X and Y as in COIL-20")
    return found


def _mat_images(path: Path) -> np.ndarray:
    pixels = _mat_array(path, "X")
    side = round(pixels.shape[1] ** 0.5)
    images = pixels.reshape(-1, side, side).transpose(0, 2, 1)
    return images.astype(np.float32) if images.dtype.kind == "f" else images.astype(np.uint8)
