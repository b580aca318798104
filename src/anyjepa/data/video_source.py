"""Videos as a numbered list: a folder of files or of folders of pictures, a table of paths, or arrays."""

from __future__ import annotations

import csv
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data.base import Source, Subset, encode_labels
from anyjepa.data.film import VIDEO_ENDINGS, ArrayFilm, FileFilm, Film, FolderFilm
from anyjepa.data.folder import find_files
from anyjepa.data.formats import EXTENSIONS
from anyjepa.data.video_config import VideoConfig
from anyjepa.errors import ConfigError, DataError, nearest

_PATHS = ("path", "file", "video", "filename")
_LABELS = ("label", "class", "target")


class Videos(Source):
    """A numbered list of films. ``read`` opens one; frames are decoded when they are asked for."""

    channels = 3
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def identity(self, i: int) -> str:
        return self.names[i]

    @abstractmethod
    def read(self, i: int) -> Film:
        """Film ``i``, opened; DataError where it cannot be."""


class FileVideos(Videos):
    """Files and folders of pictures.

    Args:
        place: the folder that names are relative to.
        names: paths of files; those of folders end in a slash.
    """

    def __init__(self, place: Path, names: list[str]) -> None:
        self.place, self.names = place, names

    def read(self, i: int) -> Film:
        path = self.place / self.names[i]
        if path.is_dir():
            files = [name for name in find_files(path, EXTENSIONS) if "/" not in name]
            if not files:
                raise DataError(f"{self.names[i]}: the folder holds no pictures")
            return FolderFilm(path, files, self.names[i])
        if not path.is_file():
            raise DataError(f"{self.names[i]}: there is no such file")
        return FileFilm(path, self.names[i])


class ArrayVideos(Videos):
    """Clips (N, F, H, W, C) or (N, F, H, W) of bytes.

    Args:
        array: the clips.
        name: what they are called.
    """

    def __init__(self, array: Any, name: str) -> None:
        if (
            array.dtype != np.uint8
            or array.ndim not in (4, 5)
            or (array.ndim == 5 and array.shape[-1] not in (1, 3))
        ):
            raise DataError(
                f"{name}: clips must be bytes (clips, frames, height, width) with 1 or 3 colours behind, got {array.dtype} "
                f"{array.shape}"
            )
        self.array, self.names = array, [f"{name}:{i}" for i in range(len(array))]

    def read(self, i: int) -> Film:
        clip = self.array[i]
        clip = clip[:, None] if clip.ndim == 3 else np.moveaxis(clip, -1, 1)
        return ArrayFilm(np.repeat(clip, 3, axis=1) if clip.shape[1] == 1 else clip, self.names[i])


def open_videos(path: str | Path, config: VideoConfig, labels: bool = False) -> Source:
    """The videos behind a path.

    Args:
        path: a folder of video files or of folders of pictures (classes are the names of the folders around them), a .csv or .txt
            with a path and perhaps a label on each line, or .npy or .npz with clips.
        config: how they are read.
        labels: read the labels.

    Raises:
        DataError: there are none, or labels are missing.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        source: Videos = _folder(place, labels)
    elif place.suffix.lower() in (".csv", ".tsv", ".txt"):
        source = _table(place, config, labels)
    elif place.suffix.lower() in (".npy", ".npz"):
        source = _arrays(place, labels)
    elif place.is_file() and place.suffix.lower() in VIDEO_ENDINGS:
        source = FileVideos(place.parent, [place.name])
        if labels:
            raise DataError(f"{place} is one video, and has no labels")
    else:
        raise DataError(
            f"{place}: expected a folder of videos, a table of paths (.csv), .npy or .npz; it is not there or none of these"
        )
    return source if config.limit is None else Subset(source, config.limit)


def _folder(place: Path, labels: bool) -> FileVideos:
    names = find_files(place, VIDEO_ENDINGS)
    if not names:
        # No video files: every folder that holds pictures is a video.
        names = sorted(
            {f"{Path(name).parent.as_posix()}/" for name in find_files(place, EXTENSIONS)} - {"./"}
        )
    if not names:
        raise DataError(
            f"{place} holds no videos ({', '.join(sorted(VIDEO_ENDINGS))}) and no folders of pictures"
        )
    source = FileVideos(place, names)
    if labels:
        around = [(place.resolve() / name).parent.name for name in names]
        source.labels, source.class_names = encode_labels(np.array(around), str(place))
    return source


def _table(file: Path, config: VideoConfig, labels: bool) -> FileVideos:
    try:
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as a table of paths ({error})") from None
    if not lines:
        raise DataError(f"{file} is empty")
    mark = next((mark for mark in "\t,;" if mark in lines[0]), " ")
    rows = list(csv.reader(lines, delimiter=mark))
    if any(Path(cell).suffix.lower() in VIDEO_ENDINGS for cell in rows[0]):
        # No head: as in the lists of the official code, a path and a number.
        head = ["path", "label", *map(str, range(2, len(rows[0])))][: len(rows[0])]
    else:
        head, rows = rows[0], rows[1:]
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(head)), None)
    if wrong is not None:
        raise DataError(f"{file}: row {wrong + 1} has {len(rows[wrong])} cells instead of {len(head)}")
    path = _column(file, head, config.path_column, _PATHS, "path_column", head[0])
    source = FileVideos(file.parent, [row[head.index(str(path))] for row in rows])
    if not rows:
        raise DataError(f"{file} names no videos")
    if labels:
        column = _column(file, head, config.label_column, _LABELS, "label_column", None)
        if column is None:
            raise DataError(
                f"{file} has no column of labels: its columns are {', '.join(head)}; name one with video.label_column"
            )
        source.labels, source.class_names = encode_labels(
            _plain([row[head.index(column)] for row in rows]), f"{file}, column '{column}'"
        )
    if config.group_column is not None:
        place = head.index(str(_column(file, head, config.group_column, (), "group_column", None)))
        # An empty cell: nobody knows what it was cut from, so it stands alone.
        told = [row[place].strip() or f"row {i}" for i, row in enumerate(rows)]
        names, source.groups = np.unique(told, return_inverse=True)
        source.group_names = tuple(names.tolist())
    return source


def _column(
    file: Path, head: list[str], asked: str | None, usual: tuple[str, ...], option: str, otherwise: str | None
) -> str | None:
    if asked is not None:
        if asked not in head:
            raise ConfigError(f"video.{option}={asked} is no column of {file}: {nearest(asked, head)}")
        return asked
    found = [name for name in head if name.lower() in usual]
    return found[0] if found else otherwise


def _plain(cells: list[str]) -> np.ndarray:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return np.array(cells)


def _arrays(file: Path, labels: bool) -> ArrayVideos:
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
        keys = list(found) if file.suffix.lower() == ".npz" else []
        name = next((key for key in ("clips", "videos", "x", "data") if key in keys), keys[0] if keys else "")
        source = ArrayVideos(found[name] if keys else found, file.name)
        classes = next((key for key in (*_LABELS, "labels", "y") if key in keys), None)
        if labels and classes is None:
            raise DataError(f"{file} holds no labels: put them under the key 'labels' of an .npz")
        if labels:
            source.labels, source.class_names = encode_labels(found[str(classes)], str(file))
            if len(source.labels) != len(source):
                raise DataError(f"{file}: {len(source)} clips, but {len(source.labels)} labels")
        if "groups" in keys:
            names, source.groups = np.unique(found["groups"], return_inverse=True)
            source.group_names = tuple(map(str, names.tolist()))
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: cannot be read as clips ({error})") from None
    return source
