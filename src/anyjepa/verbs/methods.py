"""``anyjepa methods [NAME]``"""

from __future__ import annotations

import argparse
import dataclasses
import json as plain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyjepa.registry import Entry

HELP = "list the methods: for which data, whom to cite, licence of official weights"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which method, and how to print."""
    parser.add_argument("name", nargs="?", metavar="METHOD", help="say more about this one")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def run(name: str | None, json: bool) -> int:
    """Print the list, or one entry at length."""
    from anyjepa.registry import entry, names

    found = [entry(n) for n in names()] if name is None else [entry(name)]
    if json:
        print(plain.dumps([_plain(one) for one in found], indent=1))
    elif name is None:
        print("\n".join(_short(one) for one in found))
        print("more: anyjepa methods METHOD")
    else:
        print(_long(found[0]))
    return 0


def _plain(one: Entry) -> dict[str, str]:
    kept = ("name", "modality", "summary", "citation", "licence")
    return {key: getattr(one, key) for key in kept}


def _short(one: Entry) -> str:
    return f"{one.name:12s} {one.modality}: {one.summary}\n{'':12s} {one.citation}\n{'':12s} {one.licence}"


def _long(one: Entry) -> str:
    from anyjepa.config import to_dict
    from anyjepa.data.modalities import MODALITIES

    sizes = ", ".join(f"{key}={value}" for key, value in to_dict(one.config().optim).items())
    fields = ", ".join(field.name for field in dataclasses.fields(one.config))
    kind = MODALITIES.get(one.modality)
    opens = f": {kind.opens}" if kind else ""
    start = f"anyjepa pretrain {one.name} --data PATH --out runs/mine" if kind else "in a loop of your own"
    return f"""\
{one.name}: {one.summary}
data: {one.modality}{opens}
cite: {one.citation}
{one.licence}
training, unless you say otherwise: {sizes}
groups and fields of --model: {fields}
start: {start}
every option with its source: anyjepa pretrain {one.name} --help"""
