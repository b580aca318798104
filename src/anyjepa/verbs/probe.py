"""``anyjepa probe RUN [RUN ...] --data PATH``"""

from __future__ import annotations

import argparse
from typing import Any

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
        help="of knn linear ridge attentive finetune; default knn linear, for measured values knn ridge",
    )
    add(
        "--task",
        choices=("classify", "regress", "sets"),
        help="what the labels are; default by their kind. sets: several of each sample, macro AUROC over all",
    )
    add(
        "--labels",
        nargs="+",
        help="training labels to use, as many of each class: numbers, shares like 10%%, all; default all",
    )
    add("--per-class", type=int, nargs="+", help="so many labels of every class")
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
        "--models",
        nargs="+",
        metavar="MODEL",
        help="instead of probes: compare models of tables on raw columns and on the run's tokens, all tuned alike: all, or of "
        "mlp resnet dcnv2 ft-transformer autoint xgboost catboost",
    )
    add("--untrained", action="store_true", help="with --models: the encoder with fresh weights too")
    add("--trials", type=int, help="with --models: random settings tried of each; default 8")
    add("--seconds", type=float, help="with --models: processor time of one fit; default no limit")
    add("--out", help="a JSON file for the result; that of one run is written to RUN/probe.json anyway")
    add("--markdown", action="store_true", help="print the table in Markdown")


def run(
    run: list[str],
    data: str,
    test: str | None,
    markdown: bool,
    finetune_steps: int | None,
    read: list[str] | None,
    models: list[str] | None,
    trials: int | None,
    seconds: float | None,
    untrained: bool,
    **options: Any,
) -> int:
    """Probe, and print the scores."""
    from anyjepa.errors import ConfigError
    from anyjepa.verbs.pairs import pairs

    if models is not None:
        options |= {
            "finetune_steps": finetune_steps,
            "trials": trials,
            "seconds": seconds,
            "untrained": untrained,
        }
        return _models(run, data, test, models, markdown, pairs(read), options)
    if trials is not None or seconds is not None or untrained:
        raise ConfigError("--trials, --seconds and --untrained are for --models: add --models all")
    options["seeds"] = options["seeds"] or [0]
    from anyjepa.evaluation.finetune import FinetuneConfig
    from anyjepa.evaluation.probe import probe
    from anyjepa.verbs.counting import Counting

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


def _models(
    run: list[str],
    data: str,
    test: str | None,
    models: list[str],
    markdown: bool,
    read: dict[str, Any],
    options: dict[str, Any],
) -> int:
    """Models on raw columns and on the tokens of a run."""
    from anyjepa.errors import ConfigError
    from anyjepa.tabular.compare import SEEDS, compare
    from anyjepa.tabular.fitting import FitConfig
    from anyjepa.tabular.settings import MODELS
    from anyjepa.verbs.counting import Counting

    strange = [n for n in ("probes", "per_class", "image_column", "finetune_steps") if options[n] is not None]
    strange += [name for name, value in (("pooling", "mean"), ("layers", [-1])) if options[name] != value]
    if strange or len(run) > 1 or options["encoder"] == "both" or options["task"] == "sets":
        raise ConfigError(
            "--models compares models on the tokens of one encoder of one run, of classes or of values: leave out "
            + (
                ", ".join(f"--{name.replace('_', '-')}" for name in strange)
                or "further runs, --encoder both, --task sets"
            )
        )
    passed = ("task", "labels", "label_column", "encoder", "untrained", "batch_size", "device", "out")
    result = compare(
        run[0],
        data,
        test,
        models=MODELS if models == ["all"] else models,
        trials=8 if options["trials"] is None else options["trials"],
        seeds=options["seeds"] or SEEDS,
        limits=FitConfig(seconds=options["seconds"]),
        read=read,
        progress=Counting(),
        **{name: options[name] for name in passed},
    )
    print(result.markdown() if markdown else result)
    return 0
