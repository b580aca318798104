"""Headers of WFDB records (PhysioNet), read more patiently than the wfdb package does.

The first line of the files of the PhysioNet Challenges has dates that the format does not know, and sometimes a name with a dot.
Nothing here needs either, so both are replaced before the wfdb package sees the header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from anyjepa.errors import DataError

_BYTES = {8: 1.0, 16: 2.0, 24: 3.0, 32: 4.0, 61: 2.0, 80: 1.0, 160: 2.0, 212: 1.5, 310: 4 / 3, 311: 4 / 3}
"""Bytes per sample of the formats whose files have a size that follows from the header."""
_RECORD = re.compile(
    r"(?P<name>[^\s/]+)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)(?:\s+(?P<rate>\d+(?:\.\d*)?)\S*(?:\s+(?P<length>\d+))?)?"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d+)(?:x(?P<frame>\d+))?(?::\d+)?(?:\+(?P<offset>\d+))?(?P<rest>(?:\s.*)?)$"
)


@dataclass(frozen=True)
class Header:
    """What the header of a record says.

    ``text`` is the header of a record named ``record`` in the form that strict readers take; ``patched`` tells whether it is
    needed.
    """

    name: str
    rate: float
    length: int | None
    leads: tuple[str, ...]
    files: tuple[str, ...]
    segments: int
    comments: tuple[tuple[str, str], ...]
    smallest: dict[str, int]
    text: str
    patched: bool

    def comment(self, key: str) -> list[str]:
        """All values of a comment ``# KEY: value, value``, whatever the case of the key."""
        found = [value for name, value in self.comments if name.lower() == key.lower()]
        # LUDB ends its labels with a full stop, and has a stray quotation mark here and there.
        values = [part.strip(' ".') for value in found for part in value.split(",")]
        return [value for value in values if value and value.lower() not in ("unknown", "nan", "none")]

    def missing_bytes(self, folder: Path) -> str | None:
        """What is wrong with the sizes of the signal files in ``folder``, in words; None when nothing is."""
        for file in dict.fromkeys(self.files):
            try:
                size = (folder / file).stat().st_size
            except OSError:
                return f"its signal file {file} is not there"
            if size < self.smallest.get(file, 0):
                return (
                    f"{file} has {size} bytes where the header promises {self.smallest[file]}: it was cut off"
                )
        return None


def read_header(path: Path) -> Header:
    """Read a ``.hea`` file.

    Raises:
        DataError: it cannot be read, or breaks the format; the text names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    lines = [line.strip() for line in text.splitlines()]
    plain = [line for line in lines if line and not line.startswith("#")]
    found = _RECORD.match(plain[0]) if plain else None
    if found is None:
        first = repr(plain[0]) if plain else "nothing"
        raise DataError(
            f"{path} is not a WFDB header: expected NAME SIGNALS RATE SAMPLES on its first line, got {first}"
        )
    rate = float(found["rate"] or 250)
    length = int(found["length"]) if found["length"] else None
    segments = int(found["segments"] or 0)
    if rate <= 0:
        raise DataError(f"{path}: the sampling rate is {rate:g} Hz; expected more than 0")
    if length == 0:
        raise DataError(f"{path}: the record has no samples")
    comments = tuple(_comment(line) for line in lines if line.startswith("#"))
    names, files, smallest = _signals(path, plain[1:], length) if not segments else ((), (), {})
    if not segments and len(names) != int(found["signals"]):
        raise DataError(
            f"{path}: the first line promises {found['signals']} signals, {len(names)} are described"
        )
    parts = f"/{segments}" if segments else ""
    first = f"record{parts} {found['signals']} {rate:g}" + ("" if length is None else f" {length}")
    return Header(
        found["name"],
        rate,
        length,
        names,
        files,
        segments,
        comments,
        smallest,
        "\n".join([first, *plain[1:], ""]),
        found[0] != plain[0] or not re.fullmatch(r"[-\w]+", found["name"]),
    )


def _signals(
    path: Path, lines: list[str], length: int | None
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, int]]:
    """Names and files of the signals, and the least size of each file in bytes where it can be told."""
    names, files = [], []
    samples: dict[str, float] = {}
    offsets: dict[str, int] = {}
    for number, line in enumerate(lines):
        found = _SIGNAL.match(line)
        if found is None:
            raise DataError(f"{path}: expected FILE FORMAT ... of signal {number}, got {line!r}")
        if "/" in found["file"] or "\\" in found["file"]:
            raise DataError(f"{path}: a signal file lies beside its header, got {found['file']!r}")
        # gain, resolution, zero, first value, checksum and block size stand before the name
        rest = found["rest"].split(maxsplit=6)
        names.append(rest[6] if len(rest) > 6 else "")
        files.append(found["file"])
        if length is not None and int(found["format"]) in _BYTES:
            size = _BYTES[int(found["format"])] * length * int(found["frame"] or 1)
            samples[found["file"]] = samples.get(found["file"], 0.0) + size
            offsets.setdefault(found["file"], int(found["offset"] or 0))
    return tuple(names), tuple(files), {file: int(size) + offsets[file] for file, size in samples.items()}


def _comment(line: str) -> tuple[str, str]:
    """``#Dx: 1,2`` and ``#<age>: 76`` as key and value; a comment without a key has an empty one."""
    key, colon, value = line.lstrip("# \t").partition(":")
    return (key.strip(" <>"), value.strip()) if colon else ("", key.strip())
