"""The doctor's visit to a run directory."""

from __future__ import annotations

import json
from pathlib import Path

from anyjepa.config import read_yaml
from anyjepa.errors import DataError
from anyjepa.monitoring.doctor import Diagnosis, Row, diagnose

LOG = "log.jsonl"
CONFIG = "config.yaml"


def examine(run: str | Path) -> Diagnosis:
    """The verdict on a run, finished, interrupted or still training. Only its log and its config are read.

    Raises:
        DataError: there is no log, or a line in its middle is not JSON.
    """
    config = Path(run) / CONFIG
    return diagnose(read_rows(run), read_yaml(config) if config.is_file() else None)


def read_rows(run: str | Path) -> list[Row]:
    """All lines of a run's log. A last line that is still being written is left out.

    Raises:
        DataError: there is no log, or a line in its middle is not a line of a log.
    """
    file = Path(run) / LOG
    try:
        lines = file.read_text(errors="replace").splitlines(keepends=True)
    except OSError as error:
        raise DataError(f"{run} is not a run directory: cannot read {LOG} ({error})") from error
    rows = []
    for number, line in enumerate((line for line in lines if line.endswith("\n")), start=1):
        try:
            row = json.loads(line)
            int(row["step"])
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise DataError(f"line {number} of {file} is not a line of a log: {error!r}") from error
        rows.append(row)
    return rows
