"""The tables of ``vjepa.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from anyjepa.evaluation.intervals import wilson

RESAMPLES = 4000


def tables(rows: list[dict[str, Any]]) -> str:
    """Markdown: a table of each set and tag, and how far V-JEPA is above the others."""
    keys = list(dict.fromkeys((row["set"], row["tag"]) for row in rows))
    return "\n\n".join(
        _table(name, tag, [r for r in rows if (r["set"], r["tag"]) == (name, tag)]) for name, tag in keys
    )


def _table(name: str, tag: str, rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{name} {tag}",
        "",
        "| reading | probe | seeds | accuracy % | each | 95 % of the mean | V-JEPA minus it, 95 % |",
        "|" + "---|" * 7,
    ]
    ours = _of(rows, "vjepa", "attentive")
    for arm, probe in dict.fromkeys((row["arm"], row["probe"]) for row in rows):
        found = _of(rows, arm, probe)
        values = [100 * r["accuracy"] for r in found.values()]
        low, high = wilson(float(np.mean(values)) / 100, found[min(found)]["tested"])
        each = " ".join(f"{v:.1f}" for v in values)
        less = _difference(ours, found)
        cells = [arm, probe, len(values), f"{np.mean(values):.1f}", each]
        lines.append(
            "| " + " | ".join(map(str, [*cells, f"{100 * low:.0f} to {100 * high:.0f}", less])) + " |"
        )
    return "\n".join(lines)


def _of(rows: list[dict[str, Any]], arm: str, probe: str) -> dict[int, dict[str, Any]]:
    return {r["seed"]: r for r in rows if (r["arm"], r["probe"]) == (arm, probe)}


def _difference(ours: dict[int, dict[str, Any]], theirs: dict[int, dict[str, Any]]) -> str:
    """Mean difference over common seeds; its interval by a bootstrap over films where single answers were kept."""
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return ""
    apart = 100 * np.mean([ours[s]["accuracy"] - theirs[s]["accuracy"] for s in seeds])
    if not ours[seeds[0]]["right"]:
        return f"{apart:+.1f}"
    one, two = (
        np.mean([[int(c) for c in side[s]["right"]] for s in seeds], axis=0) for side in (ours, theirs)
    )
    # Whole films are drawn: clips of one look alike.
    groups = np.unique(ours[seeds[0]]["groups"], return_inverse=True)[1]
    counts = np.bincount(groups)
    sums = np.bincount(groups, weights=one - two)
    picked = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    drawn = 100 * sums[picked].sum(1) / counts[picked].sum(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{apart:+.1f} ({low:+.1f} to {high:+.1f})"
