"""``anyjepa resume RUN``"""

from __future__ import annotations

import argparse

HELP = "go on with an interrupted run, exactly where it was"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run."""
    parser.add_argument("run", help="directory of the run")


def run(run: str) -> int:
    """Go on: 0 when finished, 1 when interrupted again."""
    from anyjepa.pretraining import resume

    return 0 if resume(run).finished else 1
