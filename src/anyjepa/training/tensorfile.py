"""Tensors to a safetensors file and back.

The file is written here rather than by the safetensors package for two reasons: its checksum comes from the same single
pass over the memory, and a full disk is an ``OSError`` that can be told from other failures. Reading is the package's.
Format: https://huggingface.co/docs/safetensors - eight bytes of header length, a JSON header, the raw tensors.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anyjepa.errors import CheckpointError

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Stamp:
    """Size in bytes and CRC-32 of a file."""

    size: int
    crc32: int


def stamp(path: Path) -> Stamp:
    """Read the file and take its size and checksum."""
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
    return Stamp(size, crc)


def write_bytes(path: Path, *parts: bytes | memoryview) -> Stamp:
    """Write a new file and wait until it is on the disk."""
    size = crc = 0
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
            size += len(part)
            crc = zlib.crc32(part, crc)
        file.flush()
        os.fsync(file.fileno())
    return Stamp(size, crc)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Stamp:
    """Write CPU tensors as a safetensors file; raises OSError like any other write."""
    # Widest numbers first keeps every tensor aligned to its own item size, as the format recommends.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        dtype, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    raw = (memoryview(_bytes_of(tensors[name])) for name in order)
    return write_bytes(path, len(text).to_bytes(8, "little"), text, *raw)


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in memory of their own.

    The package maps the file, where tensors lie at any address; kernels may sum in another order there. Copies are aligned
    like all other tensors, so a resumed run computes the same bits.
    """
    try:
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
