"""The members of a tar archive and where their bytes lie, read once."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from pathlib import Path

from anyjepa.data.archives import Index, Member, safe_name
from anyjepa.data.files import regular
from anyjepa.errors import DataError

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000


def tar_index(file: Path) -> Index:
    """The plain files of an uncompressed tar archive. Nothing is extracted.

    Links, devices, sparse files and members whose names lead out of the archive are counted as refused.

    Raises:
        DataError: the file is torn, compressed, or no tar archive.
    """
    size = regular(file).stat().st_size
    members: list[Member] = []
    refused: Counter[str] = Counter()
    try:
        with tarfile.open(file, "r:") as archive:
            while (entry := archive.next()) is not None:
                # tarfile would keep them all.
                archive.members = []  # type: ignore[attr-defined]
                if reason := _refusal(entry):
                    refused[reason] += 1
                elif entry.isreg():
                    if entry.size < 0 or entry.offset_data + entry.size > size:
                        raise DataError(
                            f"{file} ends inside its member {entry.name}: it is torn, fetch it again"
                        )
                    members.append(Member(entry.name.removeprefix("./"), entry.offset_data, entry.size, -1))
            # tarfile takes a damaged header after the first for the end; the real end is zeros, or that of the file.
            with file.open("rb") as raw:
                raw.seek(archive.offset)
                if any(raw.read(tarfile.BLOCKSIZE)):
                    raise DataError(f"{file} is damaged after its {len(members)} first files: fetch it again")
    except DataError:
        raise
    except Exception as error:  # tarfile fed with broken bytes raises what its parts raise
        with file.open("rb") as start:
            packed = start.read(2) == b"\x1f\x8b" or file.suffix.lower() in (".gz", ".bz2", ".xz", ".zst")
        hint = ": it is compressed; unpack it to a .tar, images gain nothing" if packed else f": {error}"
        raise DataError(f"{file} is not a whole .tar archive{hint}") from error
    return Index(members, refused)


def _refusal(entry: tarfile.TarInfo) -> str | None:
    if entry.issym() or entry.islnk():
        return "links"
    if entry.isdir():
        return None
    if entry.issparse() or not entry.isreg():
        return "devices, pipes or sparse files"
    return None if safe_name(entry.name.removeprefix("./")) else "names that lead out of the archive"


def expand(pattern: str) -> list[Path]:
    """The files of a pattern such as ``shards-{0000..0003}.tar``; a path without braces is itself.

    Raises:
        DataError: the range runs backwards or is absurdly long.
    """
    braces = _BRACES.search(pattern)
    if braces is None:
        return [Path(pattern).expanduser()]
    first, last = (int(number) for number in braces.groups())
    if not first <= last < first + _MOST_SHARDS:
        raise DataError(f"{braces[0]} in {pattern} is not a range of shards; write e.g. {{0000..0003}}")
    width = len(braces[1])
    names = (
        f"{pattern[: braces.start()]}{n:0{width}d}{pattern[braces.end() :]}" for n in range(first, last + 1)
    )
    return [path for name in names for path in expand(name)]
