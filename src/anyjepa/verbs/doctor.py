"""``anyjepa doctor RUN``"""

from __future__ import annotations

import argparse
import dataclasses
from json import dumps

HELP = "say whether a run learns or collapses, why, and what to change"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run, and how to print."""
    parser.add_argument("run", help="directory of a run, finished or still training")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run(run: str, json: bool) -> int:
    """Examine: 0 for a run that is healthy or too young, 1 for one that is not."""
    from anyjepa.monitoring.doctor import HEALTHY, TOO_EARLY
    from anyjepa.monitoring.examine import examine

    diagnosis = examine(run)
    print(dumps(dataclasses.asdict(diagnosis)) if json else diagnosis)
    return 0 if diagnosis.verdict in (HEALTHY, TOO_EARLY) else 1
