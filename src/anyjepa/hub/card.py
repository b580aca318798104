"""The model card: README.md of an exported directory, with the front matter that model hubs read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from anyjepa.contract import Method
from anyjepa.errors import AnyjepaError
from anyjepa.monitoring.examine import examine
from anyjepa.registry import entry

LOADING = {
    "hf": (
        "transformers",
        "from transformers import AutoImageProcessor, AutoModel\n\n"
        'processor = AutoImageProcessor.from_pretrained("{name}")\n'
        'model = AutoModel.from_pretrained("{name}")\n'
        "tokens = model(**processor(image, return_tensors='pt')).last_hidden_state  # their mean is what we pool\n",
    ),
    "timm": (
        "timm",
        "import timm\n\n"
        'model = timm.create_model("local-dir:{name}", pretrained=True).eval()\n'
        "tokens = model.forward_features(images)  # registers, if there are any, come first\n"
        "pooled = model(images)\n",
    ),
}
"""For each layout the library that reads it too, and how."""


def card(
    method: Method,
    layout: str,
    name: str,
    *,
    encoder: str | None,
    licence: str | None,
    run: Path | None,
    given: str,
    image: bool,
) -> str:
    """The text of the card.

    Args:
        method: what was exported.
        layout: ``"hf"``, ``"timm"`` or ``"anyjepa"``.
        name: name of the directory.
        encoder: which encoder it holds; None: all of the method.
        licence: SPDX-like identifier, lower case, as model hubs want it; None: it is said that there is none.
        run: directory of the run, for its data, its verdict and its scores; None: it is not known.
        given: what its input is, in words.
        image: whether that is images.
    """
    about, library = entry(method.name), LOADING[layout][0] if layout in LOADING else "anyjepa"
    settings = _settings(run)
    data = Path(str(settings["data"])).name if settings.get("data") else None
    front: dict[str, Any] = {"license": licence or "unknown", "library_name": library}
    front |= {
        "pipeline_tag": "image-feature-extraction" if image else "feature-extraction",
        "tags": ["jepa", method.name, "self-supervised", "anyjepa"],
    }
    if data:
        front["datasets"] = [data]
    held = f"its {encoder} encoder" if encoder else "encoders and predictor, all that is needed to train on"
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n",
        f"# {name}\n",
        f"{method.name}: {about.summary}. This is {held}, "
        f"pretrained without labels{f' on {data}' if data else ''} with anyjepa.\n",
        f"- Method: {about.citation}",
        f"- Input: {given}",
        f"- Licence of these weights: {licence or 'not stated; ask who made them before you use them'}",
        *_training(settings),
        *_verdict(run),
        "\n## Use\n",
        "```python\nimport anyjepa\n\n"
        f'method = anyjepa.load("{name}")\n'
        "tokens = method.encode(samples).tokens  # (B, N, D); .pooled is their mean\n```\n",
    ]
    if layout in LOADING:
        parts.append(f"```python\n{LOADING[layout][1].format(name=name)}```\n")
    return "\n".join([*parts, *_scores(run)]).rstrip() + "\n"


def _settings(run: Path | None) -> Mapping[str, Any]:
    """The run's config as far as it is there; a card can do without."""
    try:
        found = yaml.safe_load((run / "config.yaml").read_text()) if run else {}
    except (OSError, yaml.YAMLError):
        found = {}
    return found if isinstance(found, dict) else {}


def _training(settings: Mapping[str, Any]) -> list[str]:
    try:
        steps, batch = settings["model"]["optim"]["steps"], settings["train"]["batch_size"]
    except (KeyError, TypeError):
        return []
    start = f", started from {Path(str(settings['init'])).name}" if settings.get("init") else ""
    return [f"- Training: {steps} steps of {batch} samples{start}"]


def _verdict(run: Path | None) -> list[str]:
    try:
        return [f"- Verdict of the doctor on the training: {examine(run).verdict}"] if run else []
    except AnyjepaError:
        return []


def _scores(run: Path | None) -> list[str]:
    """The table of ``anyjepa probe``, if it was run."""
    try:
        found = json.loads((run / "probe.json").read_text()) if run else {}
        rows = [
            f"| {r['features']} | {int(r['labels'])} | {_percent(r['knn'])} | {_percent(r['linear'])} |"
            for r in found["rows"]
        ]
        protocol = f"{int(found['test_size'])} test images, {int(found['classes'])} classes, {found['encoder']} encoder, "
        protocol += (
            f"{found['pooling']} pooling, seeds {', '.join(map(str, found['seeds']))}; accuracy in percent."
        )
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return []
    head = ["| features | labels | kNN | linear |", "|---|---|---|---|"]
    return ["## Scores of frozen features\n", protocol + "\n", *head, *rows]


def _percent(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f}"
