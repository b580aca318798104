"""Which paths are read: plain files of this machine, and nothing that could block or reach out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from anyjepa.errors import DataError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular(path: Path) -> Path:
    """The path itself when an ordinary file lies there (links are followed).

    Raises:
        DataError: nothing is there, or a folder, a pipe or a device, whose reading might never end.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise DataError(f"{path} is {name}, expected a file")
    return path


def local_path(text: str, folder: Path) -> Path:
    """The file a table speaks of: relative to the table's ``folder``, or absolute.

    A path may lead anywhere on this machine, also out of the folder: who reads the table says so.

    Raises:
        DataError: it is an address of the network; nothing is fetched.
    """
    if "://" in text:
        raise DataError(f"'{text}' is an address: nothing is fetched; download the images and name the files")
    return folder / text


def memory() -> int:
    """Bytes of memory this machine has; 8 GiB where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 8 * 2**30
