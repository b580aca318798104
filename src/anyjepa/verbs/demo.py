"""``anyjepa demo``"""

from __future__ import annotations

import argparse

HELP = "pretrain on the digits of scikit-learn and probe, in minutes on a CPU"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to."""
    parser.add_argument(
        "--out", default="runs/demo", help="directory of the run (an old demo in it is replaced)"
    )


def run(out: str) -> int:
    """Show: 0 when it came to its end."""
    from anyjepa.demo import demo

    return 1 if demo(out) is None else 0
