"""The log of a run: ``log.jsonl`` and ``log.csv``, and TensorBoard or Weights & Biases where asked.

One line per logged step, written at once. A resumed run drops the lines after its checkpoint first, so the files read as if
the run had never been interrupted. Floats are written by ``repr``, which is exact: the files hold the very numbers.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from anyjepa.errors import MissingExtraError
from anyjepa.training.lines import Lines

Row = Mapping[str, float]
"""One line: ``step`` (completed steps, from 1) and named numbers."""


@runtime_checkable
class Sink(Protocol):
    """Where the lines of the log go."""

    def write(self, row: Row) -> None:
        """Take one line."""

    def sync(self) -> None:
        """Bring what was taken to the disk."""

    def close(self) -> None:
        """No more lines will come."""


def open_sinks(
    run: Path, loggers: tuple[str, ...], start: int, config: Mapping[str, Any], name: str
) -> list[Sink]:
    """All sinks of a run that has completed ``start`` steps; later lines that are there are dropped.

    Raises:
        MissingExtraError: a package for one of ``loggers`` is not installed.
    """
    sinks: list[Sink] = [JsonSink(run, start), CsvSink(run, start)]
    if "tensorboard" in loggers:
        sinks.append(TensorBoardSink(run, start))
    if "wandb" in loggers:
        sinks.append(WandbSink(run, config, name))
    return sinks


class JsonSink:
    """``log.jsonl``. Numbers that are not finite, which JSON does not know, become null."""

    def __init__(self, run: Path, start: int) -> None:
        def keep(line: str) -> bool:
            with suppress(ValueError, TypeError, KeyError):
                return int(json.loads(line)["step"]) <= start
            return False

        self._lines = Lines(run / "log.jsonl", keep)
        self.sync, self.close = self._lines.sync, self._lines.close

    def write(self, row: Row) -> None:
        self._lines.write(json.dumps({k: v if math.isfinite(v) else None for k, v in row.items()}))


class CsvSink:
    """``log.csv``. The columns are those of the first line: what appears later stands in ``log.jsonl`` alone."""

    def __init__(self, run: Path, start: int) -> None:
        def keep(line: str) -> bool:
            step = line.split(",", 1)[0]
            return step == "step" or (step.isdigit() and int(step) <= start)

        self._lines = Lines(run / "log.csv", keep)
        self._columns = self._lines.first.split(",") if self._lines.first else []
        self.sync, self.close = self._lines.sync, self._lines.close

    def write(self, row: Row) -> None:
        if not self._columns:
            self._columns = list(row)
            self._lines.write(_csv_line(self._columns))
        self._lines.write(_csv_line([row.get(column, "") for column in self._columns]))


def _csv_line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


class TensorBoardSink:
    """Event files in ``RUN/tensorboard``. What an interrupted run wrote too far is hidden by TensorBoard itself."""

    def __init__(self, run: Path, start: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("tensorboard", "tensorboard") from None
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
        self.sync, self.close = self._writer.flush, self._writer.close

    def write(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))


class WandbSink:
    """A Weights & Biases run named after the run directory; a resumed run continues it."""

    def __init__(self, run: Path, config: Mapping[str, Any], name: str) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("wandb", "wandb") from None
        self._run = wandb.init(
            project="anyjepa", id=name, name=run.name, dir=str(run), config=dict(config), resume="allow"
        )

    def write(self, row: Row) -> None:
        self._run.log({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))

    def sync(self) -> None:
        """The service keeps its own copy."""

    def close(self) -> None:
        self._run.finish()
