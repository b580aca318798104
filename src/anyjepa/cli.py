"""The command line: finds the verb, runs it, and turns errors a user can mend into one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from anyjepa.errors import AnyjepaError
from anyjepa.verbs import demo, doctor, methods, pretrain, probe, report, resume

VERBS = {
    "pretrain": pretrain,
    "resume": resume,
    "doctor": doctor,
    "probe": probe,
    "report": report,
    "methods": methods,
    "demo": demo,
}

EPILOG = """\
examples:
  anyjepa pretrain ijepa --data photos/ --size tiny --steps 10000 --out runs/photos
  anyjepa resume runs/photos
  anyjepa doctor runs/photos
  anyjepa probe runs/photos --data labelled/ --test held-out/
  anyjepa report runs/photos --open
  anyjepa pretrain ijepa --help        every option, with its source in the paper
  anyjepa pretrain ijepa --print_config > mine.yaml; anyjepa pretrain --config mine.yaml --data photos/
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs. The options of ``pretrain`` depend on the method and are parsed by it."""
    parser = argparse.ArgumentParser(
        prog="anyjepa",
        description="Joint-embedding predictive architectures: pretrain on unlabelled data, then see what was learned.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, verb in VERBS.items():
        verb.arguments(verbs.add_parser(name, help=verb.HELP, add_help=name != "pretrain"))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns its exit code, or 2 for an error the user can mend, which is printed without a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == [
            "pretrain"
        ]:  # argparse would take an option before the method for one of its own
            return pretrain.run(arguments[1:])
        values = vars(build_parser().parse_args(arguments))
        if values.pop("version"):
            from anyjepa import __version__

            print(__version__)
            return 0
        verb = values.pop("verb")
        if verb is None:
            build_parser().print_help()
            return 0
        return VERBS[verb].run(**values)
    except AnyjepaError as error:
        print(f"anyjepa: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anyjepa: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
