"""The doctor's visit to a run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anyjepa.config import read_yaml
from anyjepa.errors import DataError
from anyjepa.monitoring.doctor import Diagnosis, Row, diagnose

LOG = "log.jsonl"
CONFIG = "config.yaml"
INFO = "run.json"


def examine(run: str | Path) -> Diagnosis:
    """The verdict on a run, finished, interrupted or still training. Only its log, its config and its ``run.json`` are read.

    Raises:
        DataError: there is no log, or a line in its middle is not JSON.
    """
    return diagnose(read_rows(run), _config(Path(run)))


def _config(run: Path) -> dict[str, Any] | None:
    """The run's config, with the model as a remedy against collapse has left it."""
    if not (run / CONFIG).is_file():
        return None
    config = read_yaml(run / CONFIG)
    try:
        model = json.loads((run / INFO).read_text())["remedy"]["model"]
    except (OSError, ValueError, TypeError, KeyError):
        return config
    return {**config, "model": model}


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
