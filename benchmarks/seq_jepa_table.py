"""The rows of seq_jepa.py, mean and standard deviation over the seeds, as a table.

    python benchmarks/seq_jepa_table.py --set coil --quantities "accuracy of z_AGG" "MRR" "turns planned"

A quantity is shown when its name holds one of the words given.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "seq_jepa.jsonl"
SETTING = ("set", "steps", "observed", "batch", "regularizer", "objects", "few")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, default=RESULTS)
    parser.add_argument("--set", choices=("coil", "cifar"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--quantities", nargs="+", default=[""])
    asked = parser.parse_args()
    found: dict[tuple[str, str], dict[tuple[str, int], list[float]]] = {}
    for line in asked.file.read_text().splitlines():
        row = json.loads(line)
        # An untrained encoder took one step of none, whatever was asked.
        if asked.set not in (None, row["set"]) or asked.steps not in (None, row["steps"]):
            continue
        setting = ", ".join(f"{key} {row[key]}" for key in SETTING if key in row)
        cells = found.setdefault((setting, row["arm"]), {})
        for each in row["found"]:
            if any(word in each["quantity"] for word in asked.quantities):
                cells.setdefault((each["quantity"], each["length"]), []).append(each["value"])
    for (setting, arm), cells in found.items():
        print(f"\n{arm}: {setting}")
        for (quantity, length), values in cells.items():
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            name = f"{quantity} [{length}]" if length else quantity
            print(f"  {name:<55}{np.mean(values):8.3f}{spread}  ({len(values)} seeds)")


if __name__ == "__main__":
    main()
