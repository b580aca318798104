"""``anyjepa demo``: pretrain on the digits that come with scikit-learn, then see whether it paid, and look at it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anyjepa.evaluation import ProbeResult, probe
from anyjepa.pretraining import pretrain
from anyjepa.report import write_report
from anyjepa.training import RunConfig

TRAIN, TEST = "digits:train", "digits:test"
FEW = 50
"""Labels of the small budget: five of each digit. With few labels it shows most what an encoder knows by itself."""

NEXT = {
    "anyjepa inspect YOUR_IMAGES": "what is there, and what is broken",
    "anyjepa pretrain ijepa --data YOUR_IMAGES --out runs/mine": "no labels needed",
    "anyjepa doctor runs/mine": "whether it learns or collapses, and why",
    "anyjepa probe runs/mine --data LABELLED --test HELD_OUT": "what was learned",
    "anyjepa report runs/mine": "the same kind of page",
    "anyjepa --help": "all verbs",
}
"""What to do after the demo."""


def setting(out: str | Path, *, seed: int = 0, steps: int = 300) -> RunConfig:
    """I-JEPA on the digits, enlarged to 16 x 16 pixels for an 8 x 8 grid of patches.

    Where it leaves the paper: encoders this small collapse to a few dimensions under its recipe, so VICReg's terms keep the
    representations apart, and the target follows faster (0.99 instead of 0.996 at the start). Contexts are padded instead of
    cut to the shortest of the batch, which on a small grid leaves few tokens.

    Args:
        out: run directory.
        seed: of weights, masks, crops and the order of the samples.
        steps: length of the training.
    """
    return RunConfig.from_mapping(
        {
            "method": "ijepa",
            "data": TRAIN,
            "out": str(out),
            "images": {"size": 16},
            "model": {
                "size": "nano",
                "patch_size": 2,
                "masks": {"truncate": "pad"},
                "ema": [0.99, 1.0],
                "regularizer": {"kind": "vicreg", "weight": 0.2, "level": "both"},
                "seed": seed,
                "optim": {"steps": steps},
            },
            "train": {"seed": seed, "batch_size": 64, "workers": 0, "accelerator": "cpu"},
        }
    )


def demo(out: str | Path = "runs/demo") -> ProbeResult | None:
    """Pretrains without labels, probes, prints the scores and what to try next. An old demo in ``out`` is replaced.

    Args:
        out: run directory.

    Returns:
        The scores; None when the pretraining was interrupted.
    """
    print("Pretraining I-JEPA on 1347 digits of 8 x 8 pixels. Their labels are not used.")
    if not pretrain(setting(out), overwrite=True).finished:
        return None
    print(f"\nReading its features with labels of the same digits, scored on {TEST}:\n")
    result = probe(out, TRAIN, TEST, labels=(FEW, None), seeds=(0, 1, 2))
    print(result)
    print(f"\n{verdict(result)}\n")
    page = write_report(out, TEST)
    print(f"{page}: open it in a browser; curves, masks, errors, features and neighbours of this run\n")
    print(
        f"The run is in {out}: log.csv, config.yaml, checkpoints/, probe.json, report.html. Next, with your own pictures:"
    )
    for command, what in NEXT.items():
        print(f"  {command:<62} {what}")
    return result


def verdict(result: ProbeResult) -> str:
    """The scores in plain sentences, whatever they are."""
    lines = []
    for labels in sorted({row.labels for row in result.rows}):
        score = {row.features: float(np.mean(row.linear)) for row in result.rows if row.labels == labels}
        gaps = " and ".join(
            f"{_points(score['pretrained'] - score[name])} {words}"
            for name, words in (("untrained", "the same encoder untrained"), ("raw", "the raw pixels"))
        )
        lines.append(f"With {labels} labels the pretrained encoder reads the digits {gaps} (linear probe).")
    return "\n".join(lines)


def _points(gap: float) -> str:
    return f"{abs(100 * gap):.1f} points {'better' if gap > 0 else 'worse'} than"
