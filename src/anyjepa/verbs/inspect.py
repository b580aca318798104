"""``anyjepa inspect DATA``"""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from json import dumps
from pathlib import Path
from typing import Any

HELP = "look at data before training: counts, sizes, broken files; of images also copies, and those shared with other data"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The data, how much of it to read, and how to print."""
    parser.add_argument(
        "data",
        help="images (a folder, .parquet, .csv, .tar, .zip, .npy, .npz, hf:NAME), or what another kind of data lies in",
    )
    parser.add_argument(
        "--kind", help="kind of the data: images, ...; default: told by the endings of the files"
    )
    parser.add_argument(
        "--read",
        nargs="+",
        metavar="KEY=VALUE",
        help="options by which data of another kind than images are read",
    )
    parser.add_argument(
        "--against", metavar="OTHER", help="also count the images that are in these data, e.g. the test set"
    )
    parser.add_argument("--all", action="store_true", help="read every image, however long it takes")
    parser.add_argument(
        "--sample", type=int, default=20_000, help="read at most that many images (default 20000)"
    )
    parser.add_argument("--seconds", type=float, default=60, help="read no longer than this (default 60)")
    parser.add_argument("--labels", action="store_true", help="read the labels too")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--broken-list", metavar="FILE", help="write the images that cannot be read to this file"
    )
    parser.add_argument("--channels", type=int, help="1 grey, 3 colour, or the number of bands of each image")
    parser.add_argument("--image-column", help="column of the images in tables, their ending in tar archives")
    parser.add_argument("--label-column", help="column of the labels in tables, their key in tar archives")
    parser.add_argument(
        "--max-pixels", type=int, help="images of more pixels are broken (default 89 million)"
    )


def run(
    data: str,
    against: str | None,
    all: bool,
    sample: int,
    seconds: float,
    json: bool,
    broken_list: str | None,
    kind: str | None,
    read: list[str] | None,
    labels: bool,
    **options: Any,
) -> int:
    """Look, and print what was found."""
    from anyjepa.config import from_dict
    from anyjepa.data import inspect, open_source
    from anyjepa.data.modalities import MODALITIES, modality, recognise
    from anyjepa.errors import ConfigError, DataError
    from anyjepa.training.run_dir import write_whole
    from anyjepa.verbs.counting import Counting
    from anyjepa.verbs.pairs import pairs

    if sample < 1 or seconds <= 0:
        raise ConfigError(
            f"sample and seconds must be positive, got {sample} and {seconds}; --all reads everything"
        )
    found = recognise(data) if kind is None else modality(kind)
    progress = partial(Counting(), f"reading {found.noun}")
    report: Any
    if found.name != "images":
        given = [name for name, value in {"against": against, **options}.items() if value is not None]
        if given:
            raise ConfigError(
                f"{', '.join(given)}: for images alone; these are {found.noun}: use --read KEY=VALUE"
            )
        config: Any = from_dict(found.config, pairs(read), f"{found.name}.")
        report = found.inspect(found.open(data, config, labels=labels, progress=progress), config)
    else:
        try:
            source = open_source(data, labels=labels, **options)
        except DataError as error:
            others = ", ".join(name for name in MODALITIES if name != "images")
            raise (
                error if kind else DataError(f"{error}; if these are no images, say --kind: {others}")
            ) from None
        report = inspect(
            source,
            None if all else sample,
            against=against,
            seconds=None if all else seconds,
            progress=progress,
        )
    if broken_list is not None:
        write_whole(Path(broken_list), "".join(f"{broken}\n" for broken in report.broken))
    if json:
        more = {"default_size": report.default_size} if found.name == "images" else {}
        print(dumps({**dataclasses.asdict(report), **more}))
        return 0
    print(report)
    if broken_list is not None:
        print(f"wrote {len(report.broken)} lines to {broken_list}")
    elif len(report.broken) > 1:
        print(f"to list all {len(report.broken)} broken ones: --broken-list FILE")
    return 0
