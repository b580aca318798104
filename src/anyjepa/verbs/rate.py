"""Progress of a verb that goes through data once: how much, how fast, how long still."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from anyjepa.training.progress import SECONDS_BETWEEN_LINES, duration


class Rate:
    """Called with (images done, images in all): a line that renews itself on a terminal, one now and then elsewhere.

    Args:
        verb: what is done, e.g. ``"embedding"``.
        stream: default: standard error.
    """

    def __init__(self, verb: str, stream: TextIO | None = None) -> None:
        self._verb, self._stream = verb, stream or sys.stderr
        self._first: tuple[int, float] | None = None
        self._last = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            # What an earlier call has done tells nothing about the speed of this one.
            self._first = (done, now)
            if done:
                print(f"{self._verb}: going on after {done} of {total} images", file=self._stream, flush=True)
            return
        live = self._stream.isatty()
        if now - self._last < (0.2 if live else SECONDS_BETWEEN_LINES) and done < total:
            return
        self._last = now
        before, began = self._first
        rate = (done - before) / max(now - began, 1e-9)
        left = duration((total - done) / rate) if rate else "?"
        line = f"{self._verb}: {done}/{total} ({100 * done // max(total, 1)}%)  {rate:.0f} images/s  time left {left}"
        end = "\n" if done >= total or not live else ""
        print(f"\r{line}   " if live else line, end=end, file=self._stream, flush=True)
