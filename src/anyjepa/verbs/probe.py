"""``anyjepa probe RUN [RUN ...] --data PATH``"""

from __future__ import annotations

import argparse
from typing import Any

SEQUENCES = ("sequence", "equivariance", "retrieval", "path")
HELP = "score the representations of one or more runs on labelled data"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the labelled data and the protocol."""
    add = parser.add_argument
    add(
        "run",
        nargs="+",
        help="a run, one of its checkpoints, an export, or a name on the Hugging Face hub; several to compare",
    )
    add("--data", required=True, help="labelled data to fit the probes on")
    add("--test", help="labelled data for the score; without it a fifth of --data is held out")
    add(
        "--probes",
        nargs="+",
        help="of knn linear ridge attentive finetune; default knn linear, for measured values knn ridge; for transformations of "
        "views: linear mlp",
    )
    add(
        "--task",
        choices=("classify", "regress", "sets", *SEQUENCES),
        help="what the labels are; default by their kind. sets: several of each sample, macro AUROC over all. For sequences of "
        "views: sequence (classes from the aggregate), equivariance (transformations), retrieval (predicted views), path",
    )
    add("--lengths", type=int, nargs="+", default=[1, 3, 5], help="numbers of observed views, for sequences")
    add(
        "--labels",
        nargs="+",
        help="training labels to use, as many of each class: numbers, shares like 10%%, all; default all",
    )
    add("--per-class", type=int, nargs="+", help="so many labels of every class")
    add(
        "--seeds", type=int, nargs="+", default=[0], help="seeds of splits, label choice, probes and baseline"
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
    add("--out", help="a JSON file for the result; that of one run is written to RUN/probe.json anyway")
    add("--markdown", action="store_true", help="print the table in Markdown")


def run(
    run: list[str],
    data: str,
    test: str | None,
    markdown: bool,
    finetune_steps: int | None,
    read: list[str] | None,
    **options: Any,
) -> int:
    """Probe, and print the scores."""
    from anyjepa.evaluation.finetune import FinetuneConfig
    from anyjepa.evaluation.probe import probe
    from anyjepa.verbs.counting import Counting
    from anyjepa.verbs.pairs import pairs

    lengths = options.pop("lengths")
    if options["task"] in SEQUENCES:
        return _sequences(run, data, test, pairs(read), lengths, options)
    if options["task"] == "sets":
        return _sets(run, data, test, pairs(read), options)
    if finetune_steps is not None:
        options["finetune"] = FinetuneConfig(min_steps=finetune_steps, max_steps=finetune_steps)
    result = probe(run, data, test, read=pairs(read), progress=Counting(), **options)
    print(result.markdown() if markdown else result)
    return 0


def _sets(run: list[str], data: str, test: str | None, read: dict[str, Any], options: dict[str, Any]) -> int:
    """Several labels of each sample."""
    from anyjepa.errors import ConfigError
    from anyjepa.evaluation.probe_sets import probe_sets
    from anyjepa.verbs.counting import Counting

    used = ("seeds", "encoder", "pooling", "layers", "batch_size", "device", "out")
    given = [name for name in ("probes", "labels", "per_class") if options[name] is not None]
    if test is not None or given or options["encoder"] == "both":
        raise ConfigError(
            "task=sets fits one linear probe of one encoder on all labels, and takes its split from the folds or the persons of "
            f"--data: leave out {', '.join(given) or ('--test' if test is not None else '--encoder both')}"
        )
    print(probe_sets(run, data, read=read, progress=Counting(), **{name: options[name] for name in used}))
    return 0


def _sequences(
    run: list[str],
    data: str,
    test: str | None,
    read: dict[str, Any],
    lengths: list[int],
    options: dict[str, Any],
) -> int:
    """Sequences of views."""
    from anyjepa.errors import ConfigError
    from anyjepa.evaluation.sequences import probe_sequences
    from anyjepa.verbs.counting import Counting

    given = [name for name in ("labels", "per_class") if options[name] is not None]
    if given or options["encoder"] == "both":
        raise ConfigError(
            f"task={options['task']} reads one encoder with all labels: leave out {', '.join(given) or '--encoder both'}"
        )
    used = {name: options[name] for name in ("task", "seeds", "encoder", "device", "out")}
    # --probes linear mlp are its heads.
    if options["probes"]:
        used["heads"] = options["probes"]
    for name in ("image_column", "label_column"):
        if options[name]:
            read = read | {name: options[name]}
    print(probe_sequences(run, data, test, lengths=lengths, read=read, progress=Counting(), **used))
    return 0
