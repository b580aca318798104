"""What a run directory says about itself, as far as it says anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from anyjepa.config import read_yaml
from anyjepa.contract import Method
from anyjepa.errors import AnyjepaError, CheckpointError
from anyjepa.monitoring.doctor import Row
from anyjepa.monitoring.examine import read_rows
from anyjepa.training import load_method
from anyjepa.training.checkpoint import find_checkpoints, latest, read_state
from anyjepa.training.run_dir import CONFIG, read_info

T = TypeVar("T")

EXPECTED = (AnyjepaError, OSError, UnicodeError, RecursionError)
"""What a missing, torn or foreign file may raise; everything else is a fault of ours and is not hidden."""


def attempt(do: Callable[[], T]) -> tuple[T | None, str]:
    """The result and ``""``; or None and the reason in words, where a file is missing or unusable."""
    try:
        return do(), ""
    except EXPECTED as error:
        return None, str(error) or type(error).__name__
    except ModuleNotFoundError as error:
        return None, f"{error.name} is not installed: pip install {error.name}"


@dataclass(frozen=True)
class Record:
    """A run directory, read. Whatever is missing is empty or None, and the reason is kept.

    Attributes:
        path: the directory.
        config: plain config; empty when there is none.
        info: ``run.json``; empty when there is none.
        rows: lines of the log.
        log_problem: why there are no rows, or ``""``.
        step: completed steps of the newest whole checkpoint; None without one.
        seconds: time of training up to that checkpoint or the last line of the log.
        method: the trained method in eval mode; None when it cannot be loaded.
        method_problem: why there is none, or ``""``.
    """

    path: Path
    config: Mapping[str, Any]
    info: Mapping[str, Any]
    rows: list[Row]
    log_problem: str
    step: int | None
    seconds: float | None
    method: Method | None
    method_problem: str

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.resolve().name

    def get(self, key: str) -> Any:
        """A value of the config by its dotted key; None where there is none."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value


def read_record(run: str | Path) -> Record:
    """Read all there is of a run.

    Raises:
        CheckpointError: it is not a run directory at all.
    """
    path = Path(run)
    if not path.is_dir() or not any((path / name).exists() for name in (CONFIG, "log.jsonl", "checkpoints")):
        raise CheckpointError(
            f"{run} is not a run directory: expected a directory with {CONFIG}, log.jsonl and checkpoints/"
        )
    written, _ = attempt(lambda: read_yaml(path / CONFIG))
    config: Mapping[str, Any] = written or {}
    info, _ = attempt(lambda: read_info(path))
    rows, log_problem = attempt(lambda: read_rows(path))
    newest = latest(path)
    step = seconds = None
    if newest is not None:
        state = read_state(newest)
        step, seconds, config = state.step, state.seconds, config or state.config
    if rows and isinstance(rows[-1].get("seconds"), int | float):
        seconds = max(seconds or 0.0, float(rows[-1]["seconds"]))
    method, method_problem = None, "there is no checkpoint yet"
    if newest is not None:
        method, method_problem = attempt(lambda: load_method(newest))
    elif find_checkpoints(path):
        method_problem = "none of its checkpoints is whole"
    if rows is not None and not rows:
        log_problem = "nothing has been logged yet"
    return Record(
        path=path,
        config=config,
        info=info or {},
        rows=rows or [],
        log_problem=log_problem,
        step=step,
        seconds=seconds,
        method=method,
        method_problem=method_problem,
    )
