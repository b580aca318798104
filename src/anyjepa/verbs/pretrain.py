"""``anyjepa pretrain METHOD --data PATH``. Its options are those of the method, generated from the config dataclasses."""

from __future__ import annotations

import argparse
from pathlib import Path

from anyjepa.errors import ConfigError

HELP = "train a method on unlabelled data"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Everything after the verb goes to the parser of the method."""
    parser.add_argument("rest", nargs=argparse.REMAINDER)


def all_arguments(parser: argparse.ArgumentParser) -> None:
    """Every method with every option, for completion."""
    from anyjepa.data.modalities import MODALITIES
    from anyjepa.options import SHORT, pretrain_parser
    from anyjepa.registry import entry, names

    methods = parser.add_subparsers(metavar="METHOD")
    for name in (n for n in names() if entry(n).modality in MODALITIES):
        one = methods.add_parser(name, help=entry(name).summary)
        for action in pretrain_parser(name, groups(name))._actions:
            options = [o for o in action.option_strings if o not in ("-h", "--help")]
            if options:
                one.add_argument(*options, choices=action.choices)
        for short in SHORT:
            one.add_argument(short)


def groups(method: str) -> dict[str, type]:
    """The config dataclass of each group of options."""
    from anyjepa.data.modalities import modality
    from anyjepa.registry import entry
    from anyjepa.training import OnlineProbeConfig, TrainConfig

    kind = modality(entry(method).modality)
    return {
        "model": entry(method).config,
        kind.name: kind.config,
        "train": TrainConfig,
        "online_probe": OnlineProbeConfig,
    }


def run(rest: list[str]) -> int:
    """Pretrain: 0 when finished, 1 when interrupted."""
    from anyjepa.data.modalities import modality
    from anyjepa.options import parse_pretrain, split_method
    from anyjepa.pretraining import pretrain
    from anyjepa.registry import entry
    from anyjepa.training import RunConfig

    method, options, overwrite = split_method(rest)
    values = parse_pretrain(method, groups(method), options)
    if values["data"] is None:
        raise ConfigError(
            f"say what to train on: --data PATH; {method} takes {modality(entry(method).modality).opens}"
        )
    if values["out"] is None:
        values["out"] = str(Path("runs") / f"{method}-{Path(values['data']).stem.replace(':', '-')}")
    result = pretrain(RunConfig.from_mapping(values), overwrite=overwrite)
    if result.finished:
        print(f"finished {result.steps} steps; the run is in {result.run}")
        print(f"next: anyjepa report {result.run}                                   look at it")
        print(f"      anyjepa probe {result.run} --data LABELLED [--test HELD_OUT]    what was learned")
    return 0 if result.finished else 1
