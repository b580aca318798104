"""The arrays of an .npz archive, read only when their declared sizes are believable."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from anyjepa.data.files import memory, regular
from anyjepa.errors import DataError

_SUSPICIOUS = 200
"""Unpacked over packed size that pictures do not reach."""
_HARMLESS = 2**28
"""Bytes up to which the ratio does not matter."""
_IN_MEMORY = 0.5
"""Share of the machine's memory that an unpacked array may take."""


def npz_axes(path: Path) -> dict[str, int]:
    """Number of axes of each array, from the headers alone.

    Raises:
        DataError: this is no whole archive of arrays.
    """
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            return {
                entry.filename.removesuffix(".npy"): len(_header(archive, entry)[0])
                for entry in archive.infolist()
                if entry.filename.endswith(".npy")
            }
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy fed with broken bytes raise what their parts raise
        raise DataError(f"cannot read {path}: {error}") from error


def read_npz(path: Path, key: str) -> np.ndarray:
    """One array.

    Raises:
        DataError: it is torn, claims another size than the archive declares, or unpacks to more than memory holds or
            pictures do.
    """
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            entry = archive.getinfo(f"{key}.npy")
            shape, dtype, start = _header(archive, entry)
            claimed = math.prod(shape) * dtype.itemsize
            if claimed + start != entry.file_size:
                raise DataError(
                    f"the array '{key}' claims {claimed} bytes and the archive has {entry.file_size - start}"
                )
            bomb = claimed > _HARMLESS and claimed > _SUSPICIOUS * max(path.stat().st_size, 1)
            if bomb or claimed > memory() * _IN_MEMORY:
                raise DataError(
                    f"the array '{key}' would unpack to {claimed} bytes; store it as .npy, which is read in place"
                )
        with np.load(path, allow_pickle=False) as stored:
            return stored[key]
    except DataError as error:
        raise DataError(f"cannot read {path}: {error}") from error
    except Exception as error:  # as in npz_axes
        raise DataError(f"cannot read {path}: {error or type(error).__name__}") from error


def _header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, type, and where the values begin."""
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise DataError(f"unknown version {version} of the .npy format")
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(member)
        if dtype.hasobject:
            raise DataError("it holds Python objects, which are never unpickled")
        return shape, dtype, member.tell()
