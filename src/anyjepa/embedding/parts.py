"""Work in progress: finished stretches of a data set, each in a file that exists whole or not at all.

    OUT.parts/plan.json                         what is being made, see anyjepa.embedding.plan
    OUT.parts/000000000000-000000004096.arrow   embeddings of images 0 to 4095: an Arrow file, one record batch per forward pass

What is missing between two parts is an image that could not be read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from anyjepa.embedding.plan import Plan
from anyjepa.errors import ConfigError, DataError
from anyjepa.training.lines import disk_full
from anyjepa.training.tensorfile import write_bytes

log = logging.getLogger(__name__)

PLAN, LOCK = "plan.json", "lock"
_NAME = re.compile(r"(\d{12})-(\d{12})\.arrow")


@dataclass(frozen=True)
class Part:
    """Embeddings of the images ``start`` to ``stop - 1``, less those that could not be read.

    Attributes:
        path: its file.
        start, stop: images of the data set.
        rows: embeddings in it.
    """

    path: Path
    start: int
    stop: int
    rows: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its record batches, one after the other in memory."""
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_file(file) as reader:
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i)


def begin(folder: Path, plan: Plan) -> Plan:
    """Make the folder of a plan, or check that the one that is there is of the same plan. Returns the plan in force.

    Raises:
        ConfigError: the folder belongs to another plan.
    """
    file = folder / PLAN
    if file.is_file():
        before = Plan.from_json(file.read_text(), str(file))
        plan.must_equal(before, folder)
        return before
    with saved(file) as partial:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(partial, plan.to_json().encode())
    return plan


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder; a killed process keeps nobody out.

    Raises:
        ConfigError: another process is at work in it.
    """
    try:
        import fcntl
    except ImportError:
        # Not on Windows: there, two processes do the same work twice, and their files are equal.
        yield
        return
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"another process is embedding into {folder}: wait for it, or name another --out"
            ) from None
        yield


def finished(folder: Path, schema: pa.Schema) -> list[Part]:
    """The parts from image 0 on, without a gap. What does not belong to them is deleted, to be made again.

    Args:
        folder: the folder of the plan.
        schema: what every part must hold.
    """
    found: list[Part] = []
    for path in sorted(folder.iterdir()):
        name = _NAME.fullmatch(path.name)
        start, stop = (int(name[1]), int(name[2])) if name else (-1, -1)
        part = _read(path, start, stop, schema) if start == (found[-1].stop if found else 0) else None
        if part is not None:
            found.append(part)
        elif name or path.name.endswith(".partial"):
            path.unlink()
    return found


def _read(path: Path, start: int, stop: int, schema: pa.Schema) -> Part | None:
    try:
        # Mapped: to count the rows, the vectors need not be read.
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
            fits = reader.schema.equals(schema)
    except (pa.ArrowException, OSError) as error:
        log.warning("%s is damaged and is made again: %s", path, error)
        return None
    return Part(path, start, stop, sum(sizes)) if fits else None


def write_part(
    folder: Path, start: int, stop: int, batches: Sequence[pa.RecordBatch], schema: pa.Schema
) -> Part:
    """Write one part and bring it to the disk.

    Raises:
        DataError: it cannot be written, on a full disk say; the parts before it stay.
    """
    path = folder / f"{start:012d}-{stop:012d}.arrow"
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    with saved(path) as partial:
        write_bytes(partial, memoryview(sink.getvalue()))
    return Part(path, start, stop, sum(batch.num_rows for batch in batches))


@contextmanager
def saved(path: Path) -> Iterator[Path]:
    """Gives another name to write under, which becomes ``path`` at the end; after an error there is neither.

    Raises:
        DataError: the system cannot write it.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        # The directory may not be there either.
        with suppress(OSError):
            partial.unlink()
        hint = (
            "free some space and run the same command again"
            if disk_full(error)
            else "see whether you may write there"
        )
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; {hint}. What was finished is kept"
        ) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
