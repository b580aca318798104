"""``anyjepa search EMBEDDINGS --query ID_ROW_OR_IMAGE``"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from json import dumps

HELP = "find the images nearest to an image among embeddings"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The embeddings, the queries, and how to answer."""
    parser.add_argument("embeddings", help="file that anyjepa embed has written")
    parser.add_argument(
        "--query", required=True, nargs="+", help="ids or row numbers of the embeddings, or image files"
    )
    parser.add_argument("-k", type=int, default=10, help="neighbours of each query")
    parser.add_argument(
        "--run", help="run that embeds image files; default: the one the embeddings come from"
    )
    parser.add_argument(
        "--index",
        choices=("exact", "faiss"),
        default="exact",
        help="exact search, or an index for millions of rows",
    )
    parser.add_argument("--picture", metavar="FILE", help="draw queries and neighbours into this image file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(
    embeddings: str,
    query: list[str],
    k: int,
    run: str | None,
    index: str,
    picture: str | None,
    json: bool,
) -> int:
    """Search, and print ids, cosines and labels."""
    from anyjepa.embedding import contact_sheet, search

    answers = search(embeddings, query, k=k, run=run, index=index)
    print(dumps([asdict(answer) for answer in answers], indent=1) if json else "\n\n".join(map(str, answers)))
    if picture is not None:
        contact_sheet(embeddings, answers, picture)
    return 0
