"""Progress of verbs that take a while: what is done, and the time left."""

from __future__ import annotations

import sys
import time


class TimeLeft:
    """Prints a line that counts, with an estimate of the time left, on standard error.

    On a terminal the line is renewed in place; elsewhere, in a log file say, one is written every ``gap`` seconds.

    Args:
        gap: seconds between lines where they cannot be renewed.
    """

    def __init__(self, gap: float = 30.0) -> None:
        self._gap, self._shown = gap, time.monotonic()
        self._counts: dict[str, tuple[float, int]] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of ``what`` are done."""
        now, terminal = time.monotonic(), sys.stderr.isatty()
        started, before = self._counts.get(what, (now, done))
        # What counts from the beginning again is done once more.
        started = now if done < before else started
        self._counts[what] = (started, done)
        if now - self._shown < (0.1 if terminal else self._gap) and (done < total or not terminal):
            return
        self._shown = now
        left = (now - started) / max(1, done) * (total - done)
        line = f"{what} {done}/{total}, {_clock(left)} left" if done < total else f"{what} {done}/{total}"
        if terminal:
            print(f"\r\x1b[K{line}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
