"""``anyjepa methods``"""

from __future__ import annotations

import argparse

HELP = "list the methods, their data, citation and licence"


def arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run() -> int:
    """Print the list."""
    from anyjepa.registry import entry, names

    for name in names():
        found = entry(name)
        print(
            f"{name:12s} {found.modality}: {found.summary}\n{'':12s} {found.citation}\n{'':12s} {found.licence}"
        )
    return 0
