"""``KEY=VALUE`` words of a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from anyjepa.errors import ConfigError


def pairs(words: Sequence[str] | None) -> dict[str, Any]:
    """The values by their keys; values are written as in YAML: ``rate=100``, ``leads=[I, II]``.

    Raises:
        ConfigError: a word is not of that form.
    """
    found: dict[str, Any] = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"expected KEY=VALUE, got '{word}'")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"{key}: '{value}' is no value that YAML can read") from None
    return found
