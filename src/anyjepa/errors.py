"""The errors a user can cause. The command line prints their text alone, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnyjepaError(Exception):
    """Base class: the message says what was expected, what came and what would work."""


class ConfigError(AnyjepaError, ValueError):
    """A setting is unknown, of the wrong type, or impossible together with another."""


class DataError(AnyjepaError, ValueError):
    """The data cannot be read or does not fit the model."""


class CheckpointError(AnyjepaError, ValueError):
    """A checkpoint is missing, torn, or belongs to another model."""


class MissingExtraError(AnyjepaError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is needed for this; install it with: pip install 'anyjepa[{extra}]'")


def nearest(name: str, valid: Iterable[str]) -> str:
    """Text that points from a wrong name to the right ones.

    >>> nearest("ijpea", ["ijepa", "vjepa"])
    "did you mean 'ijepa'? Valid: ijepa, vjepa"
    """
    options = sorted(valid)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Valid: {', '.join(options)}"
