"""Command-line options of a pretraining, generated from the config dataclasses (jsonargparse does the work)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, set_parsing_settings

from anyjepa.config import read_yaml
from anyjepa.errors import ConfigError, nearest
from anyjepa.registry import names

set_parsing_settings(docstring_parse_attribute_docstrings=True)

SHORT = {
    "--size": "--model.size",
    "--patch-size": "--model.patch_size",
    "--image-size": "--images.size",
    "--steps": "--model.optim.steps",
    "--lr": "--model.optim.lr",
    "--batch-size": "--train.batch_size",
    "--workers": "--train.workers",
    "--devices": "--train.devices",
    "--on-collapse": "--train.on_collapse",
    "--online-probe": "--online_probe.data",
    "--precision": "--train.precision",
    "--seed": "--train.seed",
}
"""Short names of the options that are used most."""


class Parser(ArgumentParser):
    """A parser whose errors are ConfigErrors that name the nearest valid option."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing a page of usage."""
        if isinstance(ex, ConfigError):
            raise ex
        valid = [name for action in self._actions for name in action.option_strings]
        text = message
        if found := re.search(r"unrecognized arguments: (--[\w.\-]+)", message, re.IGNORECASE):
            text = f"unknown option {found[1]}: {_near(found[1], valid)}"
        elif found := re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message):
            text = f"unknown key '{found[1]}.{found[2]}': {_near(f'--{found[1]}.{found[2]}', valid)}"
        elif found := re.search(r"Option '([\w.]+)' is not accepted", message):
            text = f"unknown key '{found[1]}': {_near('--' + found[1], valid)}"
        raise ConfigError(text) from None


def _near(option: str, valid: Sequence[str]) -> str:
    """The same name in another group, or the nearest options of the same group, or of all."""
    elsewhere = [v for v in valid if v.endswith("." + option.removeprefix("--"))]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    group = option.rpartition(".")[0]
    peers = [v for v in valid if v.rpartition(".")[0] == group and v.startswith("--")]
    return nearest(option, peers if group and peers else [*(v for v in valid if "." not in v), *SHORT])


def split_method(arguments: Sequence[str]) -> tuple[str, list[str], bool]:
    """(method, the other arguments, whether ``--overwrite`` is among them).

    The method is the first argument, or the key ``method`` of the file given by ``--config``.
    """
    rest = [a for a in arguments if a != "--overwrite"]
    overwrite = len(rest) < len(arguments)
    if rest and not rest[0].startswith("-"):
        return rest[0], rest[1:], overwrite
    for i, argument in enumerate(rest):
        name, _, value = argument.partition("=")
        if name == "--config" and (value or rest[i + 1 :]):
            method = read_yaml(value or rest[i + 1]).get("method")
            if isinstance(method, str):
                return method, rest, overwrite
    raise ConfigError(f"name a method: anyjepa pretrain METHOD --data PATH; methods: {', '.join(names())}")


def expand_short(arguments: Sequence[str]) -> list[str]:
    """The arguments with short names written out: ``--size tiny`` becomes ``--model.size tiny``."""
    expanded = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        expanded.append(SHORT.get(name, name) + equals + value)
    return expanded


def pretrain_parser(method: str, groups: dict[str, type]) -> ArgumentParser:
    """The parser of ``anyjepa pretrain METHOD``.

    Args:
        method: name of the method, also accepted (and checked) as a key of a config file.
        groups: config dataclass of each group of keys, e.g. ``{"model": IJEPAConfig, "train": TrainConfig}``.
    """
    short = ", ".join(f"{name} = {full}" for name, full in SHORT.items())
    parser = Parser(
        prog=f"anyjepa pretrain {method}",
        usage="%(prog)s --data PATH [--out RUN] [--size SIZE] [--steps N] [--config FILE] [--KEY VALUE ...]",
        description=f"Pretrain {method} on unlabelled data. Short names: {short}",
    )
    parser.add_argument(
        "--config", action="config", help="YAML file with any of the keys below; options after it win"
    )
    parser.add_argument("--method", default=method, help="the method a config file is for")
    parser.add_argument(
        "--data", type=str | None, default=None, help="folder, .parquet, .npy, .npz, or 'digits'"
    )
    parser.add_argument("--overwrite", action="store_true", help="delete an old run in the directory")
    parser.add_argument(
        "--out", type=str | None, default=None, help="directory of the run; default runs/METHOD-DATA"
    )
    parser.add_argument(
        "--init",
        type=str | None,
        default=None,
        help="weights to start from: a run, an export, a name on the hub",
    )
    for name, config in groups.items():
        parser.add_argument(f"--{name}", type=config, default=config())
    return parser


def parse_pretrain(method: str, groups: dict[str, type], arguments: Sequence[str]) -> dict[str, Any]:
    """The values of a pretraining as nested plain dictionaries; ``--print_config`` and ``--help`` end the program.

    Raises:
        ConfigError: an unknown option or key, or a value of the wrong type.
    """
    values = pretrain_parser(method, groups).parse_args(expand_short(arguments)).as_dict()
    for name in ("config", "overwrite"):
        values.pop(name, None)
    if values["method"] != method:
        raise ConfigError(
            f"the config file is for method '{values['method']}', the command line says '{method}'"
        )
    return values
