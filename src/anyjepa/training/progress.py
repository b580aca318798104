"""How far a training is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 10.0


@runtime_checkable
class Progress(Protocol):
    """Shows the step, the loss, the throughput and the time left."""

    def update(self, step: int, loss: float, samples_per_second: float) -> None:
        """``step`` steps are done; the last known loss and throughput."""

    def close(self) -> None:
        """Training has ended."""


def open_progress(start: int, total: int, stream: TextIO | None = None) -> Progress:
    """A bar when ``stream`` (default: standard error) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return Bar(start, total, stream) if stream.isatty() else PlainLines(start, total, stream)


class Bar:
    """A live bar."""

    def __init__(self, start: int, total: int, stream: TextIO) -> None:
        self._bar = RichProgress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.0f} samples/s  time left"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("training", total=total, completed=start, loss=float("nan"), rate=0.0)
        self._bar.start()

    def update(self, step: int, loss: float, samples_per_second: float) -> None:
        self._bar.update(self._task, completed=step, loss=loss, rate=samples_per_second)

    def close(self) -> None:
        self._bar.stop()


class PlainLines:
    """One line at the first and last step and every few seconds in between."""

    def __init__(self, start: int, total: int, stream: TextIO) -> None:
        self._start, self._total, self._stream = start, total, stream
        self._begin = time.monotonic()
        self._last = float("-inf")

    def update(self, step: int, loss: float, samples_per_second: float) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES and step < self._total:
            return
        self._last = now
        left = (now - self._begin) / max(1, step - self._start) * (self._total - step)
        print(
            f"step {step}/{self._total} ({100 * step // self._total}%)  loss {loss:.4f}  "
            f"{samples_per_second:.0f} samples/s  time left {duration(left)}",
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        """Nothing to put away."""


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(75), duration(7275)
    ('1:15', '2:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
