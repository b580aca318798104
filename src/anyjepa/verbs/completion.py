"""``anyjepa completion SHELL``: a script that teaches a shell the verbs, the methods and all their options."""

from __future__ import annotations

import argparse

from anyjepa.errors import MissingExtraError

HELP = "print a completion script for your shell"
SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    parser.add_argument("shell", choices=SHELLS, help="e.g. anyjepa completion bash >> ~/.bash_completion")


def run(shell: str) -> int:
    """Print the script."""
    try:
        import shtab
    except ImportError:
        raise MissingExtraError("shtab", "completion") from None
    from anyjepa.verbs.parser import build_parser

    print(shtab.complete(build_parser(methods=True), shell))
    return 0
