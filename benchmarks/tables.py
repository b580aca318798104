"""Is T-JEPA worth it on tables? Seven models on raw columns and on its tokens, tuned alike, as in the paper's table.

    python benchmarks/tables.py --data DATA --part columns
    python benchmarks/tables.py --data DATA --part tokens
    python benchmarks/tables.py --data DATA --part columns tokens --models mlp resnet xgboost --labels 1% 10%
    python benchmarks/tables.py --data DATA --part columns tokens --models mlp resnet xgboost --labels all --given 5000
    python benchmarks/tables.py --table

DATA holds tabular-california, tabular-adult and tabular-jannis-part. An encoder is pretrained on all training rows of its table,
without labels, by SETTINGS; test rows are seen by nothing before the scores. One line for each model is appended to
benchmarks/results/tables.jsonl; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import torch

import anyjepa
from anyjepa.data.tables_config import TablesConfig
from anyjepa.data.tables_files import open_table
from anyjepa.data.tables_source import TableSource
from anyjepa.evaluation import Budget, Features
from anyjepa.evaluation.labelled import join
from anyjepa.evaluation.scores import spread
from anyjepa.randomness import permutation
from anyjepa.tabular.fitting import FitConfig
from anyjepa.tabular.inputs import Inputs
from anyjepa.tabular.material import Material, drawn, read_material
from anyjepa.tabular.result import COLUMNS, FORMS, NAMES, TOKENS, UNTRAINED
from anyjepa.tabular.rows import inputs_of
from anyjepa.tabular.scoring import fit_row
from anyjepa.tabular.settings import MODELS
from anyjepa.training import RunConfig

RESULTS = Path(__file__).parent / "results" / "tables.jsonl"
SETS = ("california", "adult", "jannis")
TITLES = {"california": "California", "adult": "Adult", "jannis": "Jannis (part)"}
ADULT = [
    *(
        "age",
        "workclass",
        "fnlwgt",
        "education",
        "education-num",
        "marital-status",
        "occupation",
        "relationship",
    ),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "label"),
]
METRIC = {"california": "rmse", "adult": "accuracy", "jannis": "accuracy"}
ROWS = {"california": 16512, "adult": 32561, "jannis": 13398}
"""Training rows."""
MAIN = 5000
"""Labels with which all models are compared."""
WARM = {"lr": 1e-3, "start_lr": 0.0, "final_lr": 0.0}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "california": (
        {
            "size": "nano",
            "dim": 64,
            "masks": {"blocks": 2, "context": [0.25, 0.6], "targets": [0.15, 0.5]},
            "ema": [0.99, 1.0],
            "optim": WARM | {"steps": 1000, "warmup_steps": 100},
        },
        {"batch_size": 256},
    ),
    "adult": (
        {
            "size": "nano",
            "masks": {"blocks": 2},
            "ema": [0.99, 1.0],
            "optim": WARM | {"steps": 800, "warmup_steps": 80},
        },
        {"batch_size": 256},
    ),
    "jannis": (
        {
            "size": "nano",
            "masks": {"blocks": 2},
            "ema": [0.99, 1.0],
            "optim": WARM | {"steps": 400, "warmup_steps": 40},
        },
        {"batch_size": 128},
    ),
}
"""Model and training of each encoder, minutes on one core."""
PARTS = {"columns": COLUMNS, "tokens": TOKENS, "untrained": UNTRAINED}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("tables-benchmark"), help="for tables and runs")
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), default=["columns", "tokens"])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--labels", nargs="+", default=[str(MAIN)], help="numbers, shares, or all")
    parser.add_argument("--given", type=int, help="settings that were found with so many labels, no search")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0, help="processor time of a fit")
    parser.add_argument("--epochs", type=int, default=60, help="over which the rate of networks falls to 0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--test-rows", type=int, default=4096, help="of the test, drawn once")
    parser.add_argument("--table", action="store_true", help="print the results so far")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(list(records())))
        return
    torch.set_num_threads(1)
    for name in arguments.sets:
        train, test = files(name, arguments)
        for part in arguments.part:
            material = (
                of_columns(train, test) if part == "columns" else of_tokens(name, train, test, arguments)
            )
            for label in arguments.labels:
                chosen = material.inside[drawn(Budget.parse(label), len(material.inside))]
                for model in arguments.models:
                    cell(name, material, chosen, model, PARTS[part], arguments)


def cell(
    name: str, material: Material, chosen: np.ndarray, model: str, kind: str, arguments: argparse.Namespace
) -> None:
    """One model on one kind of input: tuned, fitted with every seed, written down."""
    key = {"data": name, "model": model, "features": kind, "labels": len(chosen)}
    known = [r for r in records() if r["data"] == name and r["model"] == model and r["features"] == kind]
    if any(r["labels"] == len(chosen) for r in known):
        return
    given = None
    if arguments.given is not None:
        given = next(r["settings"] for r in known if r["labels"] == arguments.given)
    row, _ = fit_row(
        material,
        chosen,
        model,
        kind,
        trials=arguments.trials,
        seeds=arguments.seeds,
        limits=FitConfig(seconds=arguments.seconds, epochs=arguments.epochs),
        settings=given,
    )
    record = key | {
        "scores": row.scores,
        "settings": row.settings,
        "valid": row.valid,
        "trials": row.trials,
        "cut": row.cut,
        "seconds": round(row.seconds, 1),
        "limit": arguments.seconds,
        "epochs": arguments.epochs,
        "seeds": arguments.seeds,
        "test_rows": len(material.outside),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    append(record)
    shown = {metric: f"{np.mean(values):.4f}" for metric, values in row.scores.items()}
    print(name, kind, len(chosen), model, shown, f"{row.seconds:.0f} s, {row.cut} cut", flush=True)


def of_columns(train: Path, test: Path) -> Material:
    """Raw rows; columns are learned from the training rows, as pretraining learns them."""
    config = TablesConfig(label_column="label")
    inside = TableSource(open_table(train), config, labels=True)
    config = TablesConfig(label_column="label", columns=inside.columns)
    outside = TableSource(open_table(test), config, labels=True)
    parts = [Features({COLUMNS: inputs_of(s).values}, s.labels, np.arange(len(s))) for s in (inside, outside)]
    data = join(parts[0], inside, parts[1], outside)
    first, second = data.split(0)
    columns = inputs_of(inside).cardinalities
    return Material({COLUMNS: Inputs(data.values[COLUMNS], columns)}, data.labels, first, second)


def of_tokens(name: str, train: Path, test: Path, arguments: argparse.Namespace) -> Material:
    """Rows as tokens of an encoder that is pretrained first, unless it is there."""
    run = arguments.work / name / "run"
    if not (run / "config.yaml").exists():
        model, train_options = SETTINGS[name]
        values = {
            "method": "tjepa",
            "data": str(train),
            "out": str(run),
            "model": model,
            "tables": {"label_column": "label"},
            "train": train_options | {"workers": 0, "accelerator": "cpu", "checkpoint_every": 10**6},
        }
        began = time.process_time()
        result = anyjepa.pretrain(RunConfig.from_mapping(values))
        kept = {group: values[group] for group in ("model", "tables", "train")}
        record = {"data": name, "pretraining": kept, "seconds": round(time.process_time() - began, 1)}
        append(record | {"verdict": str(result.diagnosis and result.diagnosis.verdict)})
    return read_material(run, train, test, task=None, options={"label_column": "label"}, untrained=True)


def files(name: str, arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Training and test rows of a data set as Parquet, the labels in the column ``label``."""
    place = arguments.work / name
    found = place / "train.parquet", place / "test.parquet"
    if not all(path.exists() for path in found):
        place.mkdir(parents=True, exist_ok=True)
        train, test = READ[name](arguments.data)
        rows = np.sort(permutation(0, "benchmark/test", 0, len(test))[: arguments.test_rows])
        pq.write_table(train, found[0])
        pq.write_table(test.take(pa.array(rows)), found[1])
    return found


def california(data: Path) -> tuple[pa.Table, pa.Table]:
    """Training and validation rows of the usual split, and its test rows."""
    place = data / "tabular-california"
    names = json.loads((place / "info.json").read_text())["N_cols"]
    return (
        pa.concat_tables([numbers(place, "train", names), numbers(place, "val", names)]),
        numbers(place, "test", names),
    )


def jannis(data: Path) -> tuple[pa.Table, pa.Table]:
    """The validation rows of the usual split to train on (its training rows are not at hand), and its test rows."""
    place = data / "tabular-jannis-part"
    names = [f"x{i}" for i in range(54)]
    return numbers(place, "val", names), numbers(place, "test", names)


def numbers(place: Path, part: str, names: list[str]) -> pa.Table:
    """A part of a table of numbers."""
    values = np.load(place / f"N_{part}.npy", allow_pickle=False)
    columns = {name: values[:, i] for i, name in enumerate(names)}
    return pa.table(columns | {"label": np.load(place / f"y_{part}.npy", allow_pickle=False)})


def adult(data: Path) -> tuple[pa.Table, pa.Table]:
    """The official split. Its test labels end in a full stop, which is taken off: they are the same two classes."""
    parts = []
    for part in ("train", "test"):
        read = pacsv.read_csv(
            data / "tabular-adult" / f"adult-{part}.csv.gz", pacsv.ReadOptions(column_names=ADULT)
        )
        label = pc.utf8_rtrim(pc.utf8_trim_whitespace(read["label"]), ".")
        parts.append(read.set_column(len(ADULT) - 1, "label", label))
    return parts[0], parts[1]


READ = {"california": california, "adult": adult, "jannis": jannis}


def append(record: dict[str, Any]) -> None:
    """Add a line to the results."""
    with RESULTS.open("a") as file:
        file.write(json.dumps(record) + "\n")


def records() -> Iterator[dict[str, Any]]:
    """The scores so far; lines of pretraining are left out."""
    if RESULTS.exists():
        for line in RESULTS.read_text().splitlines():
            if "model" in (record := json.loads(line)):
                yield record


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: all models with the labels most of them had, shares of the labels, and encoders with fresh weights."""
    main = [r for r in found if share(r) is None]
    few = sorted((r for r in found if share(r) is not None), key=lambda r: share(r) or 0)
    both = (COLUMNS, TOKENS)
    parts = [
        grid(main, both, [(NAMES[m], lambda r, m=m: r["model"] == m) for m in MODELS]),
        grid(
            few,
            both,
            [
                (f"{s} %, {NAMES[m]}", lambda r, m=m, s=s: r["model"] == m and share(r) == s)
                for s in dict.fromkeys(map(share, few))
                for m in MODELS
            ],
        ),
        grid(main, (TOKENS, UNTRAINED), [(NAMES[m], lambda r, m=m: r["model"] == m) for m in MODELS]),
    ]
    minutes = sum(r["seconds"] for r in found) / 60
    return "\n\n".join([*parts, f"{minutes:.0f} minutes of processor time in all"])


def share(record: dict[str, Any]) -> int | None:
    """Per cent of the training rows that were labelled; None for the number that all models had."""
    return None if record["labels"] == MAIN else round(100 * record["labels"] / ROWS[record["data"]])


def grid(
    found: list[dict[str, Any]],
    kinds: tuple[str, ...],
    lines: list[tuple[str, Callable[[dict[str, Any]], bool]]],
) -> str:
    """A table of these lines, with a column for each data set and kind of input; lines without all kinds are left out."""
    heads = [f"{TITLES[name]}, {FORMS[METRIC[name]][2]}: {kind}" for name in SETS for kind in kinds]
    text = [f"| model | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1)]
    for title, wanted in lines:
        some = [r for r in found if wanted(r)]
        if {r["features"] for r in some} >= set(kinds):
            cells = [shown(some, name, kind) for name in SETS for kind in kinds]
            text.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(text)


def shown(some: list[dict[str, Any]], name: str, kind: str) -> str:
    """Mean and standard deviation of a cell; a star where the time limit ended most fits."""
    row = next((r for r in some if (r["data"], r["features"]) == (name, kind)), None)
    if row is None:
        return "-"
    scale, form, _ = FORMS[METRIC[name]]
    values = row["scores"][METRIC[name]]
    star = "*" if 2 * row["cut"] > row["trials"] + len(values) else ""
    return f"{scale * np.mean(values):{form}} ± {scale * (spread(values) or 0.0):{form}}{star}"


if __name__ == "__main__":
    main()
