"""Which recipe learns on small images in minutes on a CPU? Pretrains, asks the doctor, and probes.

    python benchmarks/small_scale.py --train CIFAR10/train.parquet --test CIFAR10/test.parquet --seeds 0 1 2
    python benchmarks/small_scale.py --table

Every run goes through the library's own front door. One line per run is appended to benchmarks/results/small_scale.jsonl.
``supervised-*`` trains the same encoder with a linear head from scratch on a share of the labels, for as many steps.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import anyjepa
from anyjepa.config import from_dict
from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.evaluation.features import encoder_reader, extract, pixel_reader
from anyjepa.evaluation.knn import knn_accuracy
from anyjepa.evaluation.linear import fit_linear
from anyjepa.evaluation.splits import balanced
from anyjepa.monitoring.doctor import diagnose
from anyjepa.monitoring.examine import read_rows
from anyjepa.registry import entry
from anyjepa.schedules import OptimConfig, learning_rate
from anyjepa.training import RunConfig

NAMES = {"image-cifar10": "CIFAR-10", "image-tinyimagenet": "Tiny ImageNet"}
"""How the tables call the folders of the data."""

RESULTS = Path(__file__).parent / "results" / "small_scale.jsonl"
LABELS = 10_000

ENCODER = dict(size="nano", stem="conv", patch_size=8, depth=2)
IJEPA = ENCODER | dict(
    masks=dict(truncate="pad", target_scale=[0.15, 0.3]), ema=[0.99, 1.0], predictor_depth=2
)
# Lighter changes than the paper's: at 32 pixels blur and solarization leave little to see.
VIEWS = dict(
    crop_scale=[0.25, 1.0], brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.0, solarize=0.0
)
LEJEPA = ENCODER | dict(global_views=2, hidden=512, views=VIEWS)
OPTIM = dict(lr=1e-3, start_lr=1e-4, final_weight_decay=0.04)
WHOLE = dict(crop_scale=[1.0, 1.0])

SETTINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # name: (method, model, images)
    "ijepa-ema": ("ijepa", IJEPA, {}),
    "ijepa-ema-vicreg": (
        "ijepa",
        IJEPA | dict(regularizer=dict(kind="vicreg", weight=0.2, level="both")),
        {},
    ),
    "ijepa-ema-sigreg": ("ijepa", IJEPA | dict(regularizer=dict(kind="sigreg", weight=0.02)), {}),
    "ijepa-sigreg": (
        "ijepa",
        IJEPA
        | dict(target="online", target_norm=False, regularizer=dict(kind="sigreg", weight=0.02, on="target")),
        {},
    ),
    "lejepa": ("lejepa", LEJEPA, WHOLE),
    "lejepa-masked": ("lejepa", LEJEPA | dict(global_views=3, visible=0.5), WHOLE),
    "untrained": ("ijepa", IJEPA, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train")
    parser.add_argument("--test")
    parser.add_argument(
        "--settings", nargs="+", default=[*SETTINGS, "supervised-0.01", "supervised-0.1", "supervised-1"]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument(
        "--tag", default="", help="what --set changes, in words: the run goes into the second table"
    )
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="KEY=JSON",
        help="model keys, or images.KEY; not for supervised-*",
    )
    parser.add_argument("--keep", type=Path, help="folder for the runs, which are deleted otherwise")
    parser.add_argument("--table", action="store_true", help="print the results so far")
    arguments = parser.parse_args()
    if arguments.table:
        records = [json.loads(line) for line in RESULTS.read_text().splitlines()]
        print(f"{table(records)}\n\n{ablation(records)}")
        return
    for seed in arguments.seeds:
        for name in arguments.settings:
            record = run(name, seed, arguments)
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the results."""
    record: dict[str, Any] = {
        "setting": name,
        "seed": seed,
        "data": Path(arguments.train).parent.name,
        "tag": arguments.tag,
    }
    record |= {"steps": arguments.steps, "batch_size": arguments.batch_size, "size": arguments.size}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = scratch if arguments.keep is None else str(arguments.keep / f"{name}-{arguments.tag}-{seed}")
        if name.startswith("supervised-"):
            record["accuracy"] = supervised(float(name.split("-")[1]), seed, arguments)
        else:
            config = setting(name, seed, arguments, folder)
            record["overrides"] = arguments.set
            if name == "untrained":
                shape = (3, arguments.size, arguments.size)
                method = anyjepa.create(config.method, config.model.fit(shape))
            else:
                result = anyjepa.pretrain(config, overwrite=True)
                if not result.finished:
                    raise SystemExit("interrupted")
                rows = read_rows(folder)
                early = [row for row in rows if row["step"] <= 300]
                record |= {
                    "verdict": str(result.diagnosis.verdict),
                    "verdict_300": diagnose(early).verdict,
                    "last": {k: v for k, v in rows[-1].items() if "_" in k},
                }
                method = anyjepa.load(folder)
            record["minutes"] = (time.monotonic() - started) / 60
            record |= scores(method, seed, arguments)
    record.setdefault("minutes", (time.monotonic() - started) / 60)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    hardware = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return record | {"date": now, "hardware": hardware}


def setting(name: str, seed: int, arguments: argparse.Namespace, out: str) -> RunConfig:
    """The config of one run."""
    method, model, images = copy.deepcopy(SETTINGS[name])
    model["optim"] = OPTIM | {"steps": arguments.steps, "warmup_steps": arguments.steps // 10}
    model["seed"] = seed
    of_images = [item.removeprefix("images.") for item in arguments.set if item.startswith("images.")]
    change(model, [item for item in arguments.set if not item.startswith("images.")])
    shown = dict(size=arguments.size, flip=method == "ijepa") | images
    change(shown, of_images)
    train = dict(
        seed=seed, batch_size=arguments.batch_size, workers=0, accelerator="cpu", checkpoint_every=10**6
    )
    return RunConfig.from_mapping(
        dict(
            method=method,
            data=arguments.train,
            out=out,
            model=model,
            images=shown,
            train=train,
        )
    )


def change(model: dict[str, Any], items: list[str]) -> None:
    """Set keys of a config, given as ``a.b=JSON``."""
    for item in items:
        key, _, value = item.partition("=")
        *path, last = key.split(".")
        at = model
        for part in path:
            at = at.setdefault(part, {})
        at[last] = json.loads(value)


def scores(method: anyjepa.Method, seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Linear probe and kNN on mean-pooled features of the last layer, and the linear probe of raw pixels."""
    readers = {"encoder": encoder_reader(method), "raw": pixel_reader(method.input_shape())}
    train, test = (
        ImageDataset.open(path, ImageConfig(), arguments.size, labels=True)
        for path in (arguments.train, arguments.test)
    )
    chosen = balanced(train.source.labels, min(LABELS, len(train)), seed)
    if seed:
        readers.pop("raw")  # the same for every seed but for the choice of labels
    a, b = extract(readers, train, indices=chosen), extract(readers, test)
    found = {}
    for name in readers:
        x, y = a.values[name], b.values[name]
        found[f"{name}_linear"] = fit_linear(x, a.labels, seed=seed).accuracy(y, b.labels)
        found[f"{name}_knn"] = knn_accuracy(x, a.labels, y, b.labels)
    return found


def supervised(share: float, seed: int, arguments: argparse.Namespace) -> float:
    """Test accuracy of the same encoder and a linear head, trained from scratch on a share of the labels."""
    fields = copy.deepcopy(IJEPA) | {"seed": seed}
    config = from_dict(entry("ijepa").config, fields).fit((3, arguments.size, arguments.size))
    encoder = anyjepa.create("ijepa", config).context_encoder
    images = ImageConfig(flip=True)
    train, test = (
        ImageDataset.open(p, images, arguments.size, labels=True) for p in (arguments.train, arguments.test)
    )
    labels = torch.from_numpy(train.source.labels)
    classes = int(labels.max()) + 1
    head = nn.Linear(config.dim, classes)
    chosen = balanced(train.source.labels, max(classes, int(share * len(train))), seed)
    optim = OptimConfig(steps=arguments.steps, warmup_steps=arguments.steps // 10, lr=1e-3, start_lr=1e-4)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], weight_decay=0.05, fused=True)
    generator = np.random.default_rng(seed)
    for step in range(arguments.steps):
        index = generator.choice(chosen, arguments.batch_size)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(optim, step + 1)
        x = train.draw(step, index, seed)
        loss = F.cross_entropy(head(encoder(encoder.tokenizer.cut(x)).mean(1)), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(test), 500):
            index = np.arange(start, min(start + 500, len(test)))
            x = test.evaluation(index)
            found = head(encoder(encoder.tokenizer.cut(x)).mean(1)).argmax(1)
            correct += int((found == torch.from_numpy(test.source.labels[index])).sum())
    return correct / len(test)


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: mean and spread over seeds of each setting."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for record in records:
        if not record["tag"]:
            key = (record["data"], record["setting"], record["steps"], record["batch_size"])
            groups.setdefault(key, []).append(record)
    lines = [
        "| data | setting | steps x batch | seeds | minutes | linear | kNN | doctor at step 300 | at the end |",
        "|" + "---|" * 9,
    ]
    for (data, name, steps, batch), runs in sorted(groups.items(), key=_order):
        kinds = ("accuracy",) if name.startswith("supervised") else ("encoder_linear", "encoder_knn")
        cells = [_spread([100 * r[k] for r in runs]) for k in kinds] + [""] * (2 - len(kinds))
        verdicts = [", ".join(sorted({r.get(k, "") for r in runs})) for k in ("verdict_300", "verdict")]
        minutes = np.mean([r["minutes"] for r in runs])
        shown = f"{steps} x {batch}" if name != "untrained" else ""
        lines.append(
            f"| {NAMES.get(data, data)} | {name} | {shown} | {len(runs)} | {minutes:.1f} | {' | '.join(cells + verdicts)} |"
        )
    return "\n".join(lines)


def _order(group: tuple[tuple, list]) -> tuple:
    (data, name, steps, _), _ = group
    return data, name.startswith("supervised"), name != "untrained", steps, name


def ablation(records: list[dict[str, Any]]) -> str:
    """Markdown: each run with a tag beside the plain run of the same setting, number of samples and seed."""
    lines = ["| setting | change | linear | kNN | linear, change | doctor |", "|" + "---|" * 6]
    done: set[str] = set()
    for one in sorted((r for r in records if r["tag"]), key=lambda r: r["setting"]):
        (base,) = (
            r
            for r in records
            if not r["tag"]
            and all(r[k] == one[k] for k in ("setting", "data", "seed"))
            and r["steps"] * r["batch_size"] == one["steps"] * one["batch_size"]
        )
        for run in [base] * (one["setting"] not in done) + [one]:
            linear, knn = (100 * run[f"encoder_{k}"] for k in ("linear", "knn"))
            gain = f"{linear - 100 * base['encoder_linear']:+.1f}" if run["tag"] else ""
            lines.append(
                f"| {run['setting']} | {run['tag']} | {linear:.1f} | {knn:.1f} | {gain} | {run['verdict']} |"
            )
        done.add(one["setting"])
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


if __name__ == "__main__":
    main()
