"""``anyjepa embed RUN --data PATH --out FILE``"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

HELP = "write the vectors of all samples to a Parquet or NumPy file"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the data, the file, and what is read."""
    parser.add_argument(
        "run", help="a run, one of its checkpoints, an export, or a name on the Hugging Face hub"
    )
    parser.add_argument(
        "--data", required=True, help="what to embed, of the kind the run is for; labels are not needed"
    )
    parser.add_argument(
        "--out", required=True, help="file to write: .parquet, or .npy with .ids.parquet beside it"
    )
    parser.add_argument("--tokens", action="store_true", help="store all tokens of a sample, not their mean")
    parser.add_argument(
        "--encoder", choices=("target", "context"), default="target", help="which encoder to read"
    )
    parser.add_argument(
        "--layers", type=int, nargs="+", default=[-1], help="blocks that are joined; -1 is the last"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="type of the numbers"
    )
    parser.add_argument("--labels", action="store_true", help="store the labels too")
    parser.add_argument("--label-column", help="column of the labels in a table; default: found by name")
    parser.add_argument(
        "--read",
        nargs="+",
        metavar="KEY=VALUE",
        help="further options by which the data are read, instead of those of the run",
    )
    parser.add_argument("--limit", type=int, help="embed that many samples, evenly spread; default all")
    parser.add_argument("--batch-size", type=int, default=64, help="samples per forward pass")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: a GPU where there is one")
    parser.add_argument("--overwrite", action="store_true", help="delete older embeddings of that name")


def run(
    run: str,
    data: str,
    out: str,
    labels: bool,
    label_column: str | None,
    read: list[str] | None,
    **options: Any,
) -> int:
    """Embed, and say where the vectors are."""
    from anyjepa.embedding import embed
    from anyjepa.verbs.counting import Counting
    from anyjepa.verbs.pairs import pairs

    wanted = labels or label_column is not None
    print(
        embed(
            run,
            data,
            out,
            labels=wanted,
            label_column=label_column,
            read=pairs(read),
            progress=partial(Counting(), "embedding"),
            **options,
        )
    )
    return 0
