"""``anyjepa theory [FIGURE ...] --out DIR``"""

from __future__ import annotations

import argparse

HELP = "draw which features deep linear JEPAs and autoencoders learn first: closed forms over simulations, figures F1 to F6"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which figures, and where they go."""
    parser.add_argument(
        "figures", nargs="*", type=str.upper, metavar="FIGURE", help="F1, ..., F6; default: all of them"
    )
    parser.add_argument(
        "--out", default="theory", help="folder for FIGURE.png and FIGURE.csv (default: theory)"
    )
    parser.add_argument(
        "--numbers", action="store_true", help="write the CSV files alone, for which matplotlib is not needed"
    )


def run(figures: list[str], out: str, numbers: bool) -> int:
    """Compute the figures, write them, and say how far the simulations are from the closed forms."""
    from pathlib import Path

    from anyjepa.errors import ConfigError, nearest
    from anyjepa.theory import FIGURES, make_figure
    from anyjepa.theory.drawing import require_matplotlib
    from anyjepa.training.run_dir import write_whole
    from anyjepa.training.tensorfile import write_bytes

    for name in figures:
        if name not in FIGURES:
            raise ConfigError(f"unknown figure '{name}': {nearest(name, FIGURES)}")
    if not numbers:
        require_matplotlib()
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a folder for the figures")
    folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(figures or FIGURES):
        figure = make_figure(name)
        write_whole(folder / f"{name}.csv", figure.csv())
        if not numbers:
            part = folder / f".{name}.png.partial"
            write_bytes(part, figure.png())
            part.replace(folder / f"{name}.png")
        print(
            f"{name}: {figure.title}; simulated critical times within {figure.deviation:.2%} of the closed form"
        )
    print(f"written to {folder}")
    return 0
