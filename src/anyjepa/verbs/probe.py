"""``anyjepa probe RUN [RUN ...] --data PATH``"""

from __future__ import annotations

import argparse
from typing import Any

HELP = "score the representations of one or more runs on labelled data"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the labelled data and the protocol."""
    from anyjepa.verbs.probe_tasks import TASKS

    add = parser.add_argument
    add(
        "run",
        nargs="+",
        help="a run, one of its checkpoints, an export, or a name on the Hugging Face hub; several to compare",
    )
    add("--data", required=True, help="labelled data to fit the probes on")
    add("--test", help="labelled data for the score; without it a fifth of --data is held out")
    add(
        "--task",
        choices=("classify", "regress", *TASKS),
        help="default by the kind of the labels: classify or regress. "
        + " ".join(f"{name}: {task.help}." for name, task in TASKS.items()),
    )
    add(
        "--probes",
        nargs="+",
        help="of knn linear ridge attentive finetune; default knn linear, for measured values knn ridge; for sequences of views "
        "linear mlp",
    )
    add(
        "--labels",
        nargs="+",
        help="training labels to use, as many of each class: numbers, shares like 10%%, all; default all",
    )
    add("--per-class", "--shots", type=int, nargs="+", help="so many labels of every class")
    add(
        "--draws",
        type=int,
        help="so many draws of the labels, each with all probes: seeds 0 to DRAWS - 1; mean and deviation are printed",
    )
    add(
        "--seeds",
        type=int,
        nargs="+",
        help="seeds of splits, label choice, probes and baseline; default 0, with --models 0 to 4",
    )
    add("--encoder", choices=("target", "context", "both"), default="target", help="which encoder to read")
    add(
        "--pooling",
        choices=("mean", "meanmax", "tokens"),
        default="mean",
        help="how tokens become one vector",
    )
    add("--layers", type=int, nargs="+", default=[-1], help="blocks whose features are joined")
    add("--label-column", help="column of the labels in tables")
    add("--image-column", help="column of the images in tables")
    add(
        "--read",
        nargs="+",
        metavar="KEY=VALUE",
        help="further options by which the data are read, instead of those of the run",
    )
    add("--batch-size", type=int, default=256, help="samples per forward pass")
    add("--device", help="where to compute; default a GPU where there is one")
    add("--finetune-steps", type=int, help="steps of the finetune probe; default by the number of labels")
    add(
        "--lengths",
        type=int,
        nargs="+",
        help="for sequences of views: numbers of observed views; default 1 3 5",
    )
    add(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="instead of probes: compare models of tables on raw columns and on the run's tokens, all tuned alike: all, or of "
        "mlp resnet dcnv2 ft-transformer autoint xgboost catboost",
    )
    add("--untrained", action="store_true", help="with --models: the encoder with fresh weights too")
    add("--trials", type=int, help="with --models: random settings tried of each; default 8")
    add("--seconds", type=float, help="with --models: processor time of one fit; default no limit")
    add(
        "--radius", type=int, help="with --task propagation: patches by which a match may lie off; default 12"
    )
    add("--out", help="a JSON file for the result; that of one run is written to RUN/probe.json anyway")
    add("--markdown", action="store_true", help="print the table in Markdown")


def run(run: list[str], data: str, test: str | None, read: list[str] | None, **options: Any) -> int:
    """Probe, and print the scores."""
    from anyjepa.verbs.pairs import pairs
    from anyjepa.verbs.probe_tasks import CLASSES, MODELS, TASKS

    task = MODELS if options["models"] is not None else TASKS.get(options["task"], CLASSES)
    print(task.score(run, data, test, pairs(read), options))
    return 0
