"""The doctor beside the running training: what it sees at every logged step, and what is done about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from anyjepa.config import to_dict
from anyjepa.contract import Method
from anyjepa.monitoring.doctor import COLLAPSED, HEALTHY, TOO_EARLY, Diagnosis, Doctor, Row


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
        self._doctor = Doctor(content)
        self._told = HEALTHY
        self._acted = False

    def see(self, row: Row) -> bool:
        """Take one line; returns whether it shows a collapse that something must be done about now.

        A verdict is told once, when it changes.
        """
        verdict = self._judge(row)
        if verdict not in (TOO_EARLY, self._told):
            self._told = verdict
            if verdict != HEALTHY:
                print(f"doctor: {self.diagnosis()}", file=sys.stderr, flush=True)
        return verdict in COLLAPSED and not self._acted and self._on_collapse != "warn"

    def replay(self, rows: Sequence[Row]) -> bool:
        """Take the lines from before an interruption, in silence; returns whether the remedy was on already.

        A run that was stopped goes on when it is resumed: it is stopped again only after it has been healthy in between.
        """
        verdicts = [self._judge(row) for row in rows]
        self._told = next((v for v in reversed(verdicts) if v != TOO_EARLY), HEALTHY)
        self._acted = self._on_collapse == "stop" and self._told in COLLAPSED
        return self._on_collapse == "regularize" and any(v in COLLAPSED for v in verdicts)

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
        return self._doctor.diagnosis()

    def _judge(self, row: Row) -> str:
        verdict = self._doctor.see(row)
        if verdict == HEALTHY and self._on_collapse == "stop":
            self._acted = False
        return verdict
