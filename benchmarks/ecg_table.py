"""Markdown tables of the results of benchmarks/ecg.py."""

from __future__ import annotations

from typing import Any

import numpy as np

ORDER = (
    "pretrained",
    "pretrained, centred",
    "pretrained, block 2",
    "context encoder",
    "context encoder, centred",
    "fine-tuned",
    "from scratch",
    "untrained",
    "untrained, centred",
    "untrained, block 2",
    "classical",
    "classical, centred",
    "raw patch",
    "raw, 3 patches",
)


def tables(rows: list[dict[str, Any]]) -> str:
    """All tables: pretraining, a label-efficiency curve per task, waves."""
    parts = [pretraining([r for r in rows if r["part"] == "pretraining"])]
    for part in ("rhythm-ludb", "rhythm-mix", "beats"):
        own = [r for r in rows if r["part"] == part]
        if own:
            parts.append(curve(part, own))
    return "\n\n".join([*parts, waves([r for r in rows if r["part"] == "waves"])])


def pretraining(rows: list[dict[str, Any]]) -> str:
    """One line per setting."""
    lines = ["| setting | steps x batch | seeds | minutes | loss | doctor |", "|" + "---|" * 6]
    for tag, own in grouped(rows, "tag").items():
        loss = (
            f"{np.mean([r['first_loss'] for r in own]):.2f} to {spread([r['last']['loss'] for r in own], 3)}"
        )
        verdict = ", ".join(sorted({r["verdict"] for r in own}))
        minutes = np.mean([r["cpu_minutes"] for r in own])
        size = f"{own[0]['steps']} x {own[0]['batch_size']}"
        lines.append(f"| {tag or 'the recipe'} | {size} | {len(own)} | {minutes:.1f} | {loss} | {verdict} |")
    return "\n".join(lines)


def curve(part: str, rows: list[dict[str, Any]]) -> str:
    """Macro ROC-AUC in percent: a line per protocol, a column per number of labels."""
    budgets = sorted({r["budget"] for r in rows}, key=lambda b: b or float("inf"))
    heads = [f"{b} per class" if b else "all" for b in budgets]
    lines = [f"| {part} | " + " | ".join(heads) + " |", "|" + "---|" * (1 + len(budgets))]
    for tag, own in grouped(rows, "tag").items():
        for kind in (k for k in ORDER if any(r["features"] == k for r in own)):
            cells = [
                spread([100 * r["auc"] for r in own if r["features"] == kind and r["budget"] == b])
                for b in budgets
            ]
            lines.append(f"| {kind}{f' ({tag})' if tag else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def waves(rows: list[dict[str, Any]]) -> str:
    """F1 of the samples of each wave, in percent."""
    names = ("P", "QRS", "T", "mean", "accuracy")
    lines = ["| features | " + " | ".join(names) + " |", "|" + "---|" * 6]
    for tag, own in grouped(rows, "tag").items():
        for kind in (k for k in ORDER if any(r["features"] == k for r in own)):
            cells = [spread([100 * r[n] for r in own if r["features"] == kind]) for n in names]
            lines.append(f"| {kind}{f' ({tag})' if tag else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def grouped(rows: list[dict[str, Any]], key: str) -> dict[Any, list[dict[str, Any]]]:
    """Rows by the value of a key, in the order of their first appearance."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def spread(values: list[float], digits: int = 1) -> str:
    """Mean and standard deviation over the seeds."""
    if not values:
        return ""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean
