"""The tables of docs/fmri.md from the rows that fmri.py has written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TASKS = {"diagnosis": "auroc", "sex": "auroc", "age": "r"}
"""Tasks, and the score that is compared."""


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one table for each part."""
    return "\n\n".join(
        part
        for part in (probe_table(rows), health_table(rows), synthetic_table(rows))
        if part.count("\n") > 1
    )


def probe_table(rows: list[dict[str, Any]]) -> str:
    """Scores with their intervals over people, and how they compare with connectivity."""
    lines = [
        "| encoder | features | clips | diagnosis, AUROC | less connectivity | sex, AUROC | age, r | less connectivity "
        "| recognised |",
        "|" + "---|" * 9,
    ]
    for row in (r for r in rows if r["part"] == "probe"):
        cells = [row["setting"], row["features"], str(row.get("clips", ""))]
        for task in TASKS:
            known = row.get(task, {})
            if "interval" in known:
                cells.append(_interval(known["interval"]))
            else:
                name = next(iter(known), "")
                cells.append(f"{name} {_spread(known[name])}" if name else "")
            if task != "sex":
                off = known.get("against connectivity")
                cells.append(_interval(off, sign=True) if off else "")
        cells.append(_spread([100 * v for v in row["recognised"]], 0) + " %" if "recognised" in row else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def health_table(rows: list[dict[str, Any]]) -> str:
    """The doctor's verdicts, what he read, and what the features hold; mean and spread over seeds."""
    read = {
        "target_pooled_rank": "rank of scans",
        "target_rank": "rank of tokens",
        "prediction_match": "match",
    }
    lines = [
        "| setting | steps | seeds | doctor | loss | "
        + " | ".join(read.values())
        + " | age, r, mean | age, r, pairs | recognised, mean |",
        "|" + "---|" * 11,
    ]
    for (name, steps), runs in _grouped(rows, "health", "setting", "steps").items():
        verdicts = ", ".join(sorted({r["verdict"] for r in runs}))
        cells = [name, str(steps), str(len(runs)), verdicts, _spread([r["last"]["loss"] for r in runs])]
        cells += [_spread([r["last"].get(key, float("nan")) for r in runs]) for key in read]
        cells += [_spread([r[how]["age"] for r in runs]) for how in ("mean", "pairs")]
        cells.append(_spread([100 * r["mean"]["recognised"] for r in runs], 0) + " %")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def synthetic_table(rows: list[dict[str, Any]]) -> str:
    """Scores of made-up scans, mean and spread over seeds."""
    lines = [
        "| setting | steps | seeds | doctor | group, AUROC: mean | pairs | age, r: mean | pairs |",
        "|" + "---|" * 8,
    ]
    for (name, steps), runs in _grouped(rows, "synthetic", "setting", "steps").items():
        verdicts = ", ".join(sorted({r.get("verdict", "") for r in runs}))
        cells = [name, str(steps) if verdicts else "", str(len(runs)), verdicts]
        cells += [
            _spread([r[how][task] for r in runs]) if how in runs[0] else ""
            for task in ("group", "age")
            for how in ("mean", "pairs")
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _grouped(rows: list[dict[str, Any]], part: str, *keys: str) -> dict[tuple, list[dict[str, Any]]]:
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        if row["part"] == part:
            groups.setdefault(tuple(row[k] for k in keys), []).append(row)
    return groups


def _interval(values: Sequence[float], sign: bool = False) -> str:
    form = "{:+.2f} [{:+.2f}, {:+.2f}]" if sign else "{:.2f} [{:.2f}, {:.2f}]"
    return form.format(*values)


def _spread(values: Sequence[float], digits: int = 2) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean
