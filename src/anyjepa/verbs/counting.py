"""Progress of verbs that go through data: how much, how fast, how long still."""

from __future__ import annotations

import sys
import time

from anyjepa.training.progress import SECONDS_BETWEEN_LINES, duration


class Counting:
    """Prints a line on standard error that counts: renewed in place on a terminal, one now and then elsewhere.

    Args:
        gap: seconds between lines where they cannot be renewed.
    """

    def __init__(self, gap: float = SECONDS_BETWEEN_LINES) -> None:
        self._gap, self._shown = gap, time.monotonic()
        self._began: dict[str, tuple[float, int, int]] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of ``what`` are done; counting from less than before begins anew."""
        now, terminal = time.monotonic(), sys.stderr.isatty()
        # What was done before the first call tells nothing about the speed.
        began, before, last = self._began.get(what, (now, done, done))
        if done < last:
            began, before = now, done
        self._began[what] = (began, before, done)
        if now - self._shown < (0.1 if terminal else self._gap) and (done < total or not terminal):
            return
        self._shown = now
        line = f"{what} {done}/{total}"
        if done > before:
            rate = (done - before) / max(now - began, 1e-9)
            left = f", time left {duration((total - done) / rate)}" if done < total else ""
            line += f", {rate:.0f} a second{left}"
        if terminal:
            print(f"\r\x1b[K{line}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
