"""The command line: verbs that hand their arguments to the library. No logic of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anyjepa.errors import AnyjepaError, ConfigError

EPILOG = """\
examples:
  anyjepa pretrain ijepa --data photos/ --size tiny --steps 10000 --out runs/photos
  anyjepa resume runs/photos
  anyjepa doctor runs/photos
  anyjepa probe runs/photos --data labelled/ --test held-out/
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

    verb = verbs.add_parser("pretrain", help="train a method on unlabelled data", add_help=False)
    verb.add_argument("rest", nargs=argparse.REMAINDER)

    verb = verbs.add_parser("resume", help="go on with an interrupted run, exactly where it was")
    verb.add_argument("run", help="directory of the run")

    verb = verbs.add_parser("doctor", help="say whether a run learns or collapses, why, and what to change")
    verb.add_argument("run", help="directory of a run, finished or still training")
    verb.add_argument("--json", action="store_true", help="print the verdict as JSON")

    verb = verbs.add_parser("probe", help="score the representations of a run on labelled data")
    verb.add_argument("run", help="directory of a run or of one of its checkpoints")
    verb.add_argument("--data", required=True, help="labelled data to fit the probes on")
    verb.add_argument("--test", help="labelled data for the score; without it a fifth of --data is held out")
    verb.add_argument("--labels", type=int, help="use that many labels, as many of each class; default all")
    verb.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="seeds of splits, label choice and baseline"
    )
    verb.add_argument(
        "--encoder", choices=("target", "context"), default="target", help="which encoder to read"
    )
    verb.add_argument(
        "--layers", type=int, nargs="+", default=[-1], help="blocks whose pooled features are joined"
    )
    verb.add_argument("--batch-size", type=int, default=256, help="images per forward pass")

    verbs.add_parser("methods", help="list the methods, their data, citation and licence")

    verb = verbs.add_parser(
        "demo", help="pretrain on the digits of scikit-learn and probe, in minutes on a CPU"
    )
    verb.add_argument(
        "--out", default="runs/demo", help="directory of the run (an old demo in it is replaced)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0, or 2 for an error the user can mend, which is printed without a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["pretrain"]:
            return pretrain(arguments[1:])
        values = vars(build_parser().parse_args(arguments))
        if values.pop("version"):
            from anyjepa import __version__

            print(__version__)
            return 0
        verb = values.pop("verb")
        if verb is None:
            build_parser().print_help()
            return 0
        return VERBS[verb](**values)
    except AnyjepaError as error:
        print(f"anyjepa: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anyjepa: interrupted", file=sys.stderr)
        return 130


def pretrain(arguments: list[str]) -> int:
    """``anyjepa pretrain [METHOD] --data PATH ...``"""
    from anyjepa.data import ImageConfig
    from anyjepa.options import parse_pretrain, split_method
    from anyjepa.pretraining import pretrain as run
    from anyjepa.registry import entry
    from anyjepa.training import OnlineProbeConfig, RunConfig, TrainConfig

    method, rest, overwrite = split_method(arguments)
    groups = {
        "model": entry(method).config,
        "images": ImageConfig,
        "train": TrainConfig,
        "online_probe": OnlineProbeConfig,
    }
    values = parse_pretrain(method, groups, rest)
    if values["data"] is None:
        raise ConfigError(
            "say what to train on: --data PATH (a folder, .parquet, .npy, .npz), or --data digits to try it out"
        )
    if values["out"] is None:
        values["out"] = str(Path("runs") / f"{method}-{Path(values['data']).stem.replace(':', '-')}")
    result = run(RunConfig.from_mapping(values), overwrite=overwrite)
    if result.finished:
        print(f"finished {result.steps} steps; the run is in {result.run}")
        print(f"next: anyjepa probe {result.run} --data LABELLED [--test HELD_OUT]")
    return 0 if result.finished else 1


def resume(run: str) -> int:
    """``anyjepa resume RUN``"""
    from anyjepa.pretraining import resume as go_on

    return 0 if go_on(run).finished else 1


def doctor(run: str, json: bool) -> int:
    """``anyjepa doctor RUN``: 0 for a run that is healthy or too young, 1 for one that is not."""
    import dataclasses
    from json import dumps

    from anyjepa.monitoring.doctor import HEALTHY, TOO_EARLY
    from anyjepa.monitoring.examine import examine

    diagnosis = examine(run)
    print(dumps(dataclasses.asdict(diagnosis)) if json else diagnosis)
    return 0 if diagnosis.verdict in (HEALTHY, TOO_EARLY) else 1


def probe(run: str, data: str, test: str | None, **options: Any) -> int:
    """``anyjepa probe RUN --data PATH``"""
    from anyjepa.evaluation.probe import probe as score

    print(score(run, data, test, progress=_count, **options))
    return 0


def _count(done: int, total: int) -> None:
    """A line that counts images, on a terminal."""
    if sys.stderr.isatty():
        print(
            f"\rreading images {done}/{total}", end="\n" if done >= total else "", file=sys.stderr, flush=True
        )


def methods() -> int:
    """``anyjepa methods``"""
    from anyjepa.registry import entry, names

    for name in names():
        found = entry(name)
        print(
            f"{name:12s} {found.modality}: {found.summary}\n{'':12s} {found.citation}\n{'':12s} {found.licence}"
        )
    return 0


def demo(out: str) -> int:
    """``anyjepa demo``"""
    from anyjepa.demo import demo as show

    return 1 if show(out) is None else 0


VERBS: dict[str, Callable[..., int]] = {
    "resume": resume,
    "doctor": doctor,
    "probe": probe,
    "methods": methods,
    "demo": demo,
}

if __name__ == "__main__":
    sys.exit(main())
