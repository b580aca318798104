"""``anyjepa report RUN``"""

from __future__ import annotations

import argparse
import sys
from functools import partial

HELP = "write one HTML page about a run: verdict, curves, masks, features, errors, neighbours, scores"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run, images to draw, and where the page goes."""
    parser.add_argument("run", help="directory of a run, finished or still training")
    parser.add_argument(
        "--data", help="samples to draw, better ones not trained on; default: those of the run"
    )
    parser.add_argument("--out", help="the file; default RUN/report.html")
    parser.add_argument(
        "--images",
        type=int,
        help="among how many samples neighbours are looked for; default up to 2000, fewer for large models",
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def run(run: str, data: str | None, out: str | None, images: int | None, open: bool) -> int:
    """Write the page and say where it is."""
    from anyjepa.report import write_report
    from anyjepa.verbs.counting import Counting

    progress = partial(Counting(), "reading samples")
    file = write_report(run, data, out, images=images, progress=progress, step=_say)
    print(f"{file} ({file.stat().st_size / 1e6:.1f} MB): open it in any browser, it needs no network")
    if open:
        import webbrowser

        webbrowser.open(file.resolve().as_uri())
    return 0


def _say(title: str) -> None:
    if sys.stderr.isatty():
        print(f"{title} ...", file=sys.stderr, flush=True)
