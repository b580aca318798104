"""The doctor beside the running training: what it sees at every logged step, and what is done about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from anyjepa.config import to_dict
from anyjepa.contract import Method
from anyjepa.monitoring.doctor import COLLAPSED, HEALTHY, TOO_EARLY, Diagnosis, Row, diagnose, judge


class Watch:
    """Judges each new line of the log. Rank 0 alone has one that sees; all processes act on what it says.

    What it does is a function of the lines of the log, so a resumed run that is shown the old lines first goes on as the
    uninterrupted one would have.

    Args:
        method: what trains.
        content: plain config of the run.
        on_collapse: ``"warn"``, ``"stop"`` or ``"regularize"``.
    """

    def __init__(self, method: Method, content: Mapping[str, Any], on_collapse: str) -> None:
        self.content = dict(content)
        self._method, self._on_collapse = method, on_collapse
        self._rows: list[Row] = []
        self._told = HEALTHY
        self._acted = False

    def see(self, row: Row) -> bool:
        """Take one line; returns whether it shows a collapse that something must be done about now.

        A verdict is told once, when it changes.
        """
        self._rows.append(row)
        verdict, _ = judge(self._rows)
        changed, sick = verdict != self._told, verdict not in (HEALTHY, TOO_EARLY)
        if changed and verdict != TOO_EARLY:
            self._told = verdict
            if sick:
                print(f"doctor: {self.diagnosis()}", file=sys.stderr, flush=True)
        return verdict in COLLAPSED and not self._acted and self._on_collapse != "warn"

    def replay(self, rows: Sequence[Row]) -> bool:
        """Take the lines from before an interruption, in silence; returns whether a collapse among them called for action."""
        self._rows = list(rows)
        self._told = judge(self._rows)[0] if rows else HEALTHY
        ends = range(1, len(rows) + 1)
        return self._on_collapse != "warn" and any(judge(rows[:n])[0] in COLLAPSED for n in ends)

    def act(self, told: bool = True) -> bool:
        """Do what was asked for in a collapse, in every process; returns whether the training must stop."""
        self._acted = True
        if self._on_collapse == "stop":
            return True
        done = self._method.rescue()
        if "model" in self.content:
            self.content["model"] = to_dict(self._method.config)
        if told:
            print(
                f"doctor: {done or 'this method has no remedy left to switch on'}",
                file=sys.stderr,
                flush=True,
            )
        return False

    def diagnosis(self) -> Diagnosis:
        """The verdict on all lines so far."""
        return diagnose(self._rows, self.content)
