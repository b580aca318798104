"""A file of lines that survives kills, resumes and full disks."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)


def disk_full(error: BaseException) -> bool:
    """Whether a write failed because the disk or the user's quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Lines:
    """Appends whole lines, each at once.

    Args:
        path: the file; made if it is not there.
        keep: tells of a line that is there whether it stays. The file is cut before the first line that does not, or that
            lacks its newline.

    Attributes:
        first: the first line that was kept, or ``""``.
    """

    def __init__(self, path: Path, keep: Callable[[str], bool]) -> None:
        self._path = path
        self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
        self._size = 0
        self._waiting = b""
        self.first = ""
        for raw in self._file.read().splitlines(keepends=True):
            line = raw.decode(errors="replace")
            if not line.endswith("\n") or not keep(line):
                break
            self.first = self.first or line.strip()
            self._size += len(raw)
        self._file.truncate(self._size)

    def write(self, line: str) -> None:
        """Append one line. On a full disk it waits, with a warning, and goes out with the next one."""
        self._waiting += line.encode() + b"\n"
        try:
            self._file.seek(self._size)
            left = memoryview(self._waiting)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if not disk_full(error):
                raise
            self._file.truncate(self._size)
            log.warning("the disk is full: the last lines of %s wait for space", self._path)
        else:
            self._size += len(self._waiting)
            self._waiting = b""

    def sync(self) -> None:
        """Wait until the lines are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
