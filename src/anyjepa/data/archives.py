"""Images in tar shards (WebDataset) and zip archives, read at random and never extracted."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from anyjepa.data.base import EncodedSource, encode_labels
from anyjepa.data.formats import EXTENSIONS
from anyjepa.data.tables import LABEL_NAMES
from anyjepa.errors import DataError, nearest

log = logging.getLogger(__name__)

LARGEST_MEMBER = 2**30
"""Bytes of the largest member that is read, 1 GiB."""
_LARGEST_LABEL = 2**20
_LABELS = (".cls", ".json")


class Member(NamedTuple):
    """One file of an archive."""

    name: str
    """Its path in the archive."""
    offset: int
    """Where its bytes begin in the archive."""
    size: int
    """How many bytes it is."""
    packed: int
    """How many bytes it takes in the archive when deflated; -1 when it lies there as it is."""


@dataclass(frozen=True)
class Index:
    """What one archive holds."""

    members: list[Member]
    """The files that may be read, in their order."""
    refused: Counter[str]
    """How many others there are, by reason."""


def safe_name(name: str) -> bool:
    """Whether a member's name stays inside the archive: relative, without '..', drive or control characters."""
    path = PurePosixPath(name.replace("\\", "/"))
    return (
        bool(name)
        and not path.is_absolute()
        and ".." not in path.parts
        and ":" not in name
        and name.isprintable()
    )


def is_image_name(name: str) -> bool:
    """Whether a file name has the ending of an image."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


class ArchiveSource(EncodedSource):
    """The samples of one or more archives, in the order of the files.

    Every member with the ending of an image is one. Its class stands in a ``.cls`` or ``.json`` of the same name beside it
    (WebDataset). Archives without any of these have the directories around the images as classes, like a folder.

    Args:
        files: the archives.
        read_index: lists the members of one.
        image_column: the ending of the images (``"png"``, ``"left.png"``), where not all are wanted.
        label_column: key of the label in the ``.json``; None: found by name.
        labels: read the labels.
        is_image: whether a member is one, by its name, where no ending is given.
    """

    def __init__(
        self,
        files: Sequence[Path],
        read_index: Callable[[Path], Index],
        image_column: str | None = None,
        label_column: str | None = None,
        labels: bool = False,
        is_image: Callable[[str], bool] = is_image_name,
    ) -> None:
        self.files = list(files)
        self.refused: Counter[str] = Counter()
        samples: list[_Sample] = []
        for number, file in enumerate(self.files):
            index = read_index(file)
            self.refused += index.refused
            samples += _samples(number, index.members, image_column, is_image)
        if self.refused:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.refused.items()))
            log.warning("members of %s that are not read: %s", self.files[0].parent, reasons)
        if not samples:
            wanted = (
                f"with the ending '{image_column}'" if image_column else f"({', '.join(sorted(EXTENSIONS))})"
            )
            raise DataError(f"{self.files[0]} holds no images {wanted}")
        # Arrow and NumPy and not lists: reading a list from forked workers copies it page by page.
        self._names = pa.array([sample.image.name for sample in samples], pa.large_string())
        self._places = np.array([(s.file, *s.image[1:]) for s in samples], dtype=np.int64)
        if labels:
            self.labels, self.class_names = encode_labels(
                np.array(_classes(samples, self.files, label_column)), str(self.files[0])
            )

    def __len__(self) -> int:
        return len(self._places)

    def encoded(self, i: int) -> bytes:
        file, offset, size, packed = self._places[i].tolist()
        try:
            return read_member(self.files[file], Member("", offset, size, packed))
        except DataError as error:
            raise DataError(f"cannot read image {self.identity(i)}: {error}") from error

    def identity(self, i: int) -> str:
        return f"{self.files[self._places[i, 0]].name}/{self._names[i].as_py()}"


def read_member(file: Path, member: Member) -> bytes:
    """The bytes of one member.

    Raises:
        DataError: it is larger than LARGEST_MEMBER or not whole.
    """
    stored = member.size if member.packed < 0 else member.packed
    if max(stored, member.size) > LARGEST_MEMBER:
        raise DataError(f"{max(stored, member.size)} bytes are more than the limit of {LARGEST_MEMBER}")
    try:
        # Opened for each member: nothing is shared between workers, and archives are few and their folders cached.
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            os.lseek(handle, member.offset, os.SEEK_SET)
            data = _read(handle, stored)
        finally:
            os.close(handle)
        if member.packed >= 0 and len(data) == stored:
            # One byte more than declared tells a member that unpacks to more than it says.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
    except (OSError, zlib.error, MemoryError) as error:
        raise DataError(str(error) or "not enough memory") from error
    if len(data) != member.size:
        raise DataError(f"{file.name} holds other than the {member.size} bytes it declares")
    return data


def _read(handle: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(handle, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@dataclass
class _Sample:
    file: int
    image: Member
    label: tuple[str, Member] | None = None


def _samples(
    file: int, members: list[Member], wanted: str | None, is_image: Callable[[str], bool]
) -> list[_Sample]:
    ending = "." + wanted.lower().lstrip(".") if wanted else None
    images: list[Member] = []
    labels: dict[str, tuple[str, Member]] = {}
    for member in members:
        name = PurePosixPath(member.name)
        if name.name.startswith("."):
            continue  # hidden: a thumbnail or a resource fork
        last = name.suffix.lower()
        if last in _LABELS:
            key = str(name.with_suffix(""))
            if key not in labels or last == _LABELS[0]:
                labels[key] = (last, member)
        elif member.name.lower().endswith(ending) if ending else is_image(name.name):
            images.append(member)
    return [_Sample(file, image, _label_beside(image.name, labels)) for image in images]


def _label_beside(image: str, labels: dict[str, tuple[str, Member]]) -> tuple[str, Member] | None:
    """The label of ``a.left.png`` is that of ``a.left`` or ``a``."""
    name = PurePosixPath(image)
    while name.suffix:
        name = name.with_suffix("")
        if str(name) in labels:
            return labels[str(name)]
    return None


def _classes(samples: list[_Sample], files: list[Path], key: str | None) -> list[Any]:
    if not any(sample.label for sample in samples):
        return [PurePosixPath(sample.image.name).parent.name for sample in samples]
    found = []
    for sample in samples:
        name = f"{files[sample.file].name}/{sample.image.name}"
        if sample.label is None:
            raise DataError(
                f"{name} has no .cls or .json beside it; go on without labels, or complete the archive"
            )
        ending, member = sample.label
        if member.size > _LARGEST_LABEL:
            raise DataError(f"{name}: a label of {member.size} bytes")
        try:
            text = read_member(files[sample.file], member).decode().strip()
            found.append(text if ending == ".cls" else _from_json(json.loads(text), key))
        except (DataError, ValueError, RecursionError) as error:
            raise DataError(f"{name}: cannot read its label: {error}") from error
    texts = [str(value) for value in found]
    return [int(text) for text in texts] if all(_whole(text) for text in texts) else texts


def _whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19


def _from_json(value: Any, key: str | None) -> str | int:
    if isinstance(value, dict):
        names = [key] if key else [name for name in LABEL_NAMES if name in value]
        if not names or names[0] not in value:
            raise DataError(f"no key of a label; name it with label_column. {nearest(key or 'label', value)}")
        value = value[names[0]]
    if not isinstance(value, str | int):
        raise DataError(f"expected one whole number or one text, got {type(value).__name__}")
    return value
