"""What a file of embeddings is made of: enough to tell whether it may go on, and to embed a query the same way later."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anyjepa.config import from_dict, to_dict
from anyjepa.data import Source
from anyjepa.data.folder import find_files
from anyjepa.data.formats import EXTENSIONS
from anyjepa.errors import ConfigError, DataError

FORMAT = 2
STORED = frozenset({".parquet", ".npy", ".npz", ".csv", ".tsv", ".tar", ".zip", ".arrow"})
"""Endings of files that hold many images at once."""
PLACES = ("run", "data", "checkpoint")
"""Where things lie may change between two commands; what they are may not."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a file of embeddings holds. It is kept as JSON in the file itself."""

    method: str
    """Name of the method."""
    run: str
    """Run the weights come from, as it was named."""
    checkpoint: str
    """Checkpoint within the run; empty when the run is a checkpoint itself."""
    step: int | None
    """Optimizer steps behind the weights."""
    weights: str
    """Fingerprint of weights and model config."""
    encoder: str
    """``target`` or ``context``."""
    layers: tuple[int, ...]
    """Blocks that were read, joined along the width; -1 is the last one, after its norm."""
    pooling: Literal["mean", "none"]
    """``mean`` over the tokens, or ``none``: all tokens of a sample."""
    shape: tuple[int, ...]
    """Shape of what is stored of one sample: (D,) or (N, D)."""
    dtype: Literal["float32", "float16"]
    """Type of the numbers."""
    data: str
    """Where the samples come from, as it was named."""
    samples: int
    """How many there were, broken ones included."""
    content: str
    """Fingerprint of the samples: their names, and size and time of their files."""
    labels: bool
    """Whether labels are stored."""
    modality: str
    """The kind of data."""
    reading: dict[str, Any]
    """How they were read and became batches: the options of the kind of data."""
    batch_size: int
    """Samples per forward pass: with another one the last bits of a vector may differ."""
    device: str
    """Kind of device that computed."""
    anyjepa: str
    """Version of the library."""
    format: int = FORMAT
    """Version of this description."""

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(to_dict(self))

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Plan:
        """What :meth:`to_json` wrote; DataError names ``where`` when it is something else."""
        try:
            return from_dict(cls, json.loads(text))
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{where} does not describe embeddings of this version of anyjepa: {error}"
            ) from None

    def must_equal(self, before: Plan, where: Path) -> None:
        """Raise ConfigError, naming every difference, unless both describe the same embeddings."""
        names = [field.name for field in fields(self) if field.name not in PLACES]
        mine, theirs = ({**vars(plan), **plan.reading} for plan in (self, before))
        names = [name for name in names if name != "reading"] + sorted({*self.reading, *before.reading})
        differ = [
            f"{name} was {_shown(theirs.get(name))}, is {_shown(mine.get(name))}"
            for name in names
            if mine.get(name) != theirs.get(name)
        ]
        if differ:
            raise ConfigError(
                f"{where} holds other embeddings ({'; '.join(differ)}): go on with the same model, data and options, "
                "name another --out, or start again with --overwrite"
            )


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple | list) else str(value)


def fingerprint(path: str | Path, source: Source) -> str:
    """A short text that changes when the data do: from their names, and the size and time of the files behind them.

    Raises:
        DataError: two samples have the same name, so that no one could tell their vectors apart.
    """
    digest = hashlib.sha256()
    names = np.empty(len(source), dtype=np.uint64)
    for i in range(len(source)):
        name = source.identity(i).encode(errors="surrogateescape")
        digest.update(name + b"\0")
        names[i] = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
    distinct, first, times = np.unique(names, return_index=True, return_counts=True)
    if len(distinct) < len(names):
        twin = source.identity(int(first[times > 1][0]))
        raise DataError(f"two samples of {path} have the same name, '{twin}': names must tell them apart")
    place = Path(path).expanduser()
    files: list[Path] = [place] if place.is_file() else []
    if place.is_dir():
        inside = find_files(place, EXTENSIONS) or find_files(place, STORED) or find_files(place, None)
        files = [place / name for name in inside]
    for file in files:
        try:
            found = file.stat()
        except OSError:
            # A broken link: the sample is broken too, and counted as such.
            continue
        digest.update(f"{found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]
