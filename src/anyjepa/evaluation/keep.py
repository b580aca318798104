"""The end of a probe: what was found is written down, and not lost where it cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from anyjepa.errors import DataError
from anyjepa.training.run_dir import write_whole


@runtime_checkable
class Result(Protocol):
    """What can be written down; as text it is the table that is printed."""

    def to_json(self) -> str:
        """All of it."""
        ...


def places(runs: Sequence[str | Path], name: str, out: str | Path | None) -> list[Path]:
    """``name`` in each run that is a directory here, which a name on a hub is not, and ``out``."""
    inside = [Path(run) / name for run in runs if Path(run).is_dir()]
    return inside if out is None else [*inside, Path(out)]


def keep(result: Result, files: Iterable[Path]) -> None:
    """Write a result to files, each whole or not at all.

    Raises:
        DataError: one cannot be written; the message holds the result, for the work is done.
    """
    for file in files:
        try:
            write_whole(file, result.to_json())
        except OSError as error:
            raise DataError(f"cannot write {file} ({error.strerror}); the result was:\n{result}") from error
