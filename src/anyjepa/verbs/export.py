"""``anyjepa export RUN --to LAYOUT --out PATH``"""

from __future__ import annotations

import argparse
from typing import Any

HELP = "write the encoder of a run for transformers, timm, torch.export, ONNX, or for anyjepa elsewhere"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to write, and where to."""
    parser.add_argument("run", help="a run directory, or whatever else anyjepa.load reads")
    parser.add_argument(
        "--to",
        required=True,
        choices=("anyjepa", "hf", "timm", "torch", "onnx", "official"),
        help="hf, timm: a directory with one encoder; anyjepa: a directory with everything; torch (.pt2), onnx: a program "
        "from images to tokens; official: a file in the layout of the official I-JEPA code",
    )
    parser.add_argument("--out", required=True, help="directory or file to write")
    parser.add_argument(
        "--encoder", choices=("target", "context"), default="target", help="which encoder to write"
    )
    parser.add_argument(
        "--licence", "--license", metavar="ID", help="licence for the model card, e.g. apache-2.0"
    )
    parser.add_argument(
        "--input-size", type=int, nargs=2, metavar=("H", "W"), help="input of the program (torch, onnx)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def run(run: str, to: str, out: str, input_size: list[int] | None, **options: Any) -> int:
    """Export, and say what was written."""
    from anyjepa.hub.export import export

    size = None if input_size is None else (input_size[0], input_size[1])
    print(export(run, to, out, input_size=size, **options))
    return 0
