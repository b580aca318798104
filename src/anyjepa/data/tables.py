"""What tables of images have in common: how columns are found, and what a cell means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from anyjepa.data.files import local_path
from anyjepa.data.formats import EXTENSIONS
from anyjepa.errors import DataError, nearest

IMAGE_NAMES = (
    "image",
    "img",
    "bytes",
    "path",
    "images",
    "jpg",
    "png",
    "file",
    "file_name",
    "filename",
    "filepath",
)
"""Names looked for when no image column is given, best first."""
LABEL_NAMES = ("label", "labels", "target", "class", "y")
"""Names looked for when no label column is given, best first."""


def image_column(schema: pa.Schema, given: str | None, table: str | Path) -> str:
    """Name of the column of images: bytes, {bytes, path} structs, or paths.

    Raises:
        DataError: there is none, or more than one and none has a usual name.
    """
    names = schema.names
    binary = [name for name in names if _is_image(schema.field(name).type)]
    text = [name for name in names if is_text(schema.field(name).type)]
    if given is not None:
        if given not in binary + text:
            raise DataError(f"{table}: no column '{given}' of images: {nearest(given, binary + text)}")
        return given
    named = [name for name in IMAGE_NAMES if name in binary]
    if named or len(binary) == 1:
        return (named or binary)[0]
    paths = [name for name in IMAGE_NAMES if name in text]
    if paths and not binary:
        return paths[0]
    raise DataError(
        f"{table}: which column holds the images? Expected bytes, {{bytes, path}} or paths in a column named"
        f" one of {', '.join(IMAGE_NAMES)}; name yours with image_column. Columns: {', '.join(names)}"
    )


def names_images(schema: pa.Schema) -> bool:
    """Whether a table looks like one of images: it has bytes, a column named as such, or (without names) a path for a name."""
    for name in schema.names:
        binary, text = _is_image(schema.field(name).type), is_text(schema.field(name).type)
        if binary or (text and (name in IMAGE_NAMES or name.lower().endswith(tuple(EXTENSIONS)))):
            return True
    return False


def label_column(names: list[str], given: str | None, table: str | Path) -> str:
    """Name of the column of labels; raises DataError when there is none."""
    if given is not None and given not in names:
        raise DataError(f"{table}: no column '{given}': {nearest(given, names)}")
    found = [given] if given is not None else [name for name in LABEL_NAMES if name in names]
    if not found:
        raise DataError(
            f"{table}: labels were asked for, but no column is named {', '.join(LABEL_NAMES)}; name it with"
            f" label_column. Columns: {', '.join(names)}"
        )
    return found[0]


def declared_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Class names that the Hugging Face `datasets` library writes into the schema, if there are any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def encoded_cell(cell: pa.Scalar, folder: Path) -> Any:
    """The image in a cell, as :func:`~anyjepa.data.decode.decode` takes it: a buffer, or the path it names.

    Raises:
        DataError: the cell is empty, or names an address of the network.
    """
    if cell.is_valid and pa.types.is_struct(cell.type):
        named = dict(cell.items())
        cell = named["bytes"] if named["bytes"].is_valid else named.get("path", named["bytes"])
    if not cell.is_valid:
        raise DataError("the row is empty")
    return local_path(cell.as_py(), folder) if is_text(cell.type) else cell.as_buffer()


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_image(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
