"""``anyjepa probe RUN --data PATH``"""

from __future__ import annotations

import argparse
from typing import Any

from anyjepa.verbs.count import count

HELP = "score the representations of a run on labelled data"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the labelled data and the protocol."""
    parser.add_argument("run", help="directory of a run or of one of its checkpoints")
    parser.add_argument("--data", required=True, help="labelled data to fit the probes on")
    parser.add_argument(
        "--test", help="labelled data for the score; without it a fifth of --data is held out"
    )
    parser.add_argument("--labels", type=int, help="use that many labels, as many of each class; default all")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="seeds of splits, label choice and baseline"
    )
    parser.add_argument(
        "--encoder", choices=("target", "context"), default="target", help="which encoder to read"
    )
    parser.add_argument(
        "--layers", type=int, nargs="+", default=[-1], help="blocks whose pooled features are joined"
    )
    parser.add_argument("--batch-size", type=int, default=256, help="images per forward pass")


def run(run: str, data: str, test: str | None, **options: Any) -> int:
    """Probe, and print the scores."""
    from anyjepa.evaluation.probe import probe

    print(probe(run, data, test, progress=count, **options))
    return 0
