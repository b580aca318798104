"""Tables of the rows of eeg.py."""

from __future__ import annotations

from typing import Any

import numpy as np


def tables(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean and spread over seeds."""
    return "\n\n".join(
        table([r for r in rows if r["part"] == part]) for part in dict.fromkeys(r["part"] for r in rows)
    )


def table(rows: list[dict[str, Any]]) -> str:
    """One table: a line for each source, a column for each way of using it."""
    ways = list(dict.fromkeys(r["way"] for r in rows))
    lines = ["| task | pretrained on | doctor | " + " | ".join(ways) + " |", "|" + "---|" * (len(ways) + 3)]
    for task, source in dict.fromkeys((r["task"], name(r)) for r in rows):
        group = [r for r in rows if (r["task"], name(r)) == (task, source)]
        verdicts = ", ".join(sorted({r["verdict"] for r in group if "verdict" in r}))
        cells = [spread([100 * r["accuracy"] for r in group if r["way"] == way]) for way in ways]
        lines.append(f"| {task} | {source} | {verdicts} | {' | '.join(cells)} |")
    return "\n".join(lines)


def name(row: dict[str, Any]) -> str:
    """What a model was pretrained on, and how."""
    found = row["source"]
    if "diameter" in row:
        found += f"; {row['tokens']} tokens, masks {row['diameter']:.0%}"
    return found


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return ""
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
