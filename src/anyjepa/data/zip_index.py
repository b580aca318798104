"""The members of a zip archive and where their bytes lie, read once."""

from __future__ import annotations

import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from anyjepa.data.archives import LARGEST_MEMBER, Index, Member, safe_name
from anyjepa.data.files import regular
from anyjepa.errors import DataError

_HEADER = struct.Struct("<4s22xHH")  # the local header: signature, lengths of name and extra field
_LINK = 0o120000


def zip_index(file: Path) -> Index:
    """The stored and deflated files of a zip archive. Nothing is extracted.

    Links, encrypted and oversized members, other compressions and names that lead out of the archive are counted as
    refused.

    Raises:
        DataError: the file is torn, or no zip archive.
    """
    members: list[Member] = []
    refused: Counter[str] = Counter()
    try:
        with regular(file).open("rb") as raw, zipfile.ZipFile(raw) as archive:
            for entry in archive.infolist():
                if entry.is_dir():
                    continue
                if reason := _refusal(entry):
                    refused[reason] += 1
                    continue
                packed = -1 if entry.compress_type == zipfile.ZIP_STORED else entry.compress_size
                members.append(
                    Member(entry.filename, _start(raw, entry.header_offset), entry.file_size, packed)
                )
    except DataError:
        raise
    except Exception as error:  # zipfile fed with broken bytes raises what its parts raise
        raise DataError(f"{file} is not a whole .zip archive: {error}") from error
    return Index(members, refused)


def _refusal(entry: zipfile.ZipInfo) -> str | None:
    if entry.external_attr >> 16 & 0o170000 == _LINK:
        return "links"
    if entry.flag_bits & 1:
        return "encrypted files"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "files of another compression than deflate"
    if max(entry.file_size, entry.compress_size) > LARGEST_MEMBER:
        return "files that are too large"
    return None if safe_name(entry.filename) else "names that lead out of the archive"


def _start(raw: BinaryIO, offset: int) -> int:
    raw.seek(offset)
    signature, name, extra = _HEADER.unpack(raw.read(_HEADER.size))
    if signature != b"PK\x03\x04":
        raise DataError(f"{raw.name} is not a whole .zip archive: a member lacks its header")
    return offset + _HEADER.size + name + extra
