"""The parser of the command line: all verbs, and errors that name the nearest word."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from anyjepa.errors import ConfigError, nearest
from anyjepa.verbs import (
    completion,
    demo,
    demonstrate,
    doctor,
    embed,
    export,
    inspect,
    methods,
    pretrain,
    probe,
    report,
    resume,
    rollout,
    search,
    theory,
)

VERBS = {
    verb.__name__.rpartition(".")[2]: verb
    for verb in (
        demo,
        methods,
        inspect,
        pretrain,
        resume,
        doctor,
        probe,
        report,
        embed,
        search,
        export,
        demonstrate,
        rollout,
        theory,
        completion,
    )
}
"""In the order of their use."""

EPILOG = """\
examples:
  anyjepa demo                         see it work, in minutes, without data of yours
  anyjepa inspect photos/              what is there, what is broken, what is there twice
  anyjepa pretrain ijepa --data photos/ --size tiny --steps 10000 --out runs/photos
  anyjepa resume runs/photos           go on after an interruption
  anyjepa doctor runs/photos           is it learning, or collapsing?
  anyjepa probe runs/photos --data labelled/ --test held-out/
  anyjepa report runs/photos           everything about a run on one page, to look at
  anyjepa embed runs/photos --data photos/ --out photos.parquet
  anyjepa search photos.parquet --query new.jpg
  anyjepa export runs/photos --to hf --out exported/photos
  anyjepa demonstrate pusht --out demos.npz --episodes 200
  anyjepa rollout runs/policy --env pusht --video films/
  anyjepa theory --out theory          which features a JEPA learns first, in closed form
  anyjepa pretrain ijepa --help        every option, with its source in the paper
  anyjepa pretrain ijepa --print_config > mine.yaml; anyjepa pretrain --config mine.yaml --data photos/

exit codes: 0 done; 1 done, but interrupted or not healthy; 2 an error to mend; 70 an error of ours; 130 interrupted by you
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ConfigErrors that name the nearest valid word."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing a page of usage."""
        if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            words = re.findall(r"[\w.-]+", found[2])
            message = f"unknown word '{found[1]}': {nearest(found[1], words)}"
        elif found := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            valid = [name for action in self._actions for name in action.option_strings]
            message = f"unknown option {found[1]}: {nearest(found[1], valid)}"
        raise ConfigError(f"{message}. More: {self.prog} --help")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Refuse what is unknown here, where the valid options are known, and not in the parser of all verbs."""
        found, extra = super().parse_known_args(args, namespace)
        if extra:
            self.error(f"unrecognized arguments: {' '.join(extra)}")
        return found, extra


def build_parser(methods: bool = False) -> Parser:
    """The parser of all verbs. The options of ``pretrain`` depend on the method and are parsed by it.

    Args:
        methods: know the methods and their options too, which takes a second: for completion.
    """
    parser = Parser(
        prog="anyjepa",
        description="Joint-embedding predictive architectures: pretrain on unlabelled data, then see what was learned.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, verb in VERBS.items():
        described = verbs.add_parser(
            name, help=verb.HELP, description=_sentence(verb.HELP), add_help=name != "pretrain"
        )
        (pretrain.all_arguments if methods and verb is pretrain else verb.arguments)(described)
    return parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
