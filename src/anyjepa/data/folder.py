"""A folder of image files, at any nesting."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from anyjepa.data.base import EncodedSource, encode_labels
from anyjepa.data.formats import EXTENSIONS


def find_files(folder: Path, extensions: frozenset[str] | None) -> list[str]:
    """Paths below ``folder``, relative and in sorted order, of the files with one of the ``extensions``; None: of all.

    Hidden files and folders are left out: they are thumbnails and resource forks. Links to folders are
    followed, each real folder once.
    """
    found: list[str] = []
    visited: set[str] = set()
    for directory, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            ending = os.path.splitext(name)[1].lower()  # noqa: PTH122
            if not name.startswith(".") and (extensions is None or ending in extensions):
                found.append(Path(directory, name).relative_to(folder).as_posix())
    return sorted(found)


class FolderSource(EncodedSource):
    """Image files of a folder in the sorted order of their paths.

    Args:
        folder: the folder.
        files: their paths relative to it; see :func:`list_images`.
        labels: take the name of the directory directly around each image as its class.
    """

    def __init__(self, folder: Path, files: list[str], labels: bool = False) -> None:
        self.folder = folder
        # An Arrow array and not a list: reading a list from forked workers copies it page by page.
        self._files = pa.array(files, pa.large_string())
        if labels:
            around = [(folder.resolve() / name).parent.name for name in files]
            self.labels, self.class_names = encode_labels(np.array(around), str(folder))

    def __len__(self) -> int:
        return len(self._files)

    def encoded(self, i: int) -> Path:
        return self.folder / str(self._files[i].as_py())

    def identity(self, i: int) -> str:
        return str(self._files[i].as_py())


def list_images(folder: Path) -> list[str]:
    """Relative paths of all image files below ``folder``, sorted."""
    return find_files(folder, EXTENSIONS)
