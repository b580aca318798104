"""The command line: finds the verb, runs it, and turns errors a user can mend into one line.

Exit codes: 0 done; 1 done, but what was asked for is not there (a run interrupted or stopped, a verdict that is not healthy);
2 an error to mend, told in one line; 70 an error of this library, told with a traceback; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from anyjepa.errors import AnyjepaError
from anyjepa.verbs import pretrain
from anyjepa.verbs.parser import VERBS, build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; see the head of this file."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # argparse would take an option before the method for one of its own.
        if arguments[:1] == ["pretrain"]:
            return pretrain.run(arguments[1:])
        parser = build_parser()
        values = vars(parser.parse_args(arguments))
        if values.pop("version"):
            from anyjepa import __version__

            print(__version__)
            return 0
        verb = values.pop("verb")
        if verb is None:
            parser.print_help()
            return 0
        return VERBS[verb].run(**values)
    except AnyjepaError as error:
        print(f"anyjepa: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"anyjepa: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anyjepa: interrupted", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        print("anyjepa: this is an error of ours; please report it with the text above", file=sys.stderr)
        return 70


if __name__ == "__main__":
    sys.exit(main())
