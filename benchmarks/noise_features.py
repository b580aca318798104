"""Who learns noise first? I-JEPA and a twin with pixels for targets, on CIFAR-10 with a noisy, high-variance distractor.

    python benchmarks/noise_features.py --train CIFAR10/train.parquet --test CIFAR10/test.parquet --seeds 0 1 2
    python benchmarks/noise_features.py --table

The distractor adds to each patch of an image a mixture of a few fixed smooth patterns. Of the variance of their amplitudes
a share ``--shared`` is common to all patches of the image, the rest is drawn for each patch anew: context and target share
it with a large covariance (it is strong) and a small regression coefficient (it is noisy), as in the static family of
``anyjepa.theory``. The twin has the architecture, masks, schedules, seeds and images of I-JEPA; what is predicted is
the pixels of the hidden patches, and the last layer of the predictor is as wide as these.

One line per run is appended to benchmarks/results/noise_features.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anyjepa.config import from_dict
from anyjepa.contract import Method
from anyjepa.data import ImageConfig, ImageDataset, build_loader
from anyjepa.evaluation.linear import fit_linear
from anyjepa.evaluation.splits import balanced
from anyjepa.methods.ijepa import IJEPA, IJEPAConfig
from anyjepa.nn.linear import Linear
from anyjepa.nn.predictor import Predictor
from anyjepa.nn.transformer import Encoder
from anyjepa.randomness import uniform
from anyjepa.training import TrainConfig, train

RESULTS = Path(__file__).parent / "results" / "noise_features.jsonl"
SIDE, PATCH, PATTERNS = 32, 8, 6
TOKENS = (SIDE // PATCH) ** 2
MODEL = dict(
    size="nano", stem="conv", patch_size=PATCH, depth=2, predictor_depth=2, ema=[0.99, 1.0],
    masks=dict(truncate="pad", target_scale=[0.15, 0.3]),
)  # fmt: skip
OPTIM = dict(lr=1e-3, start_lr=1e-4, final_weight_decay=0.04)


class Pixels(nn.Module):
    """A target encoder that hands out the patches themselves."""

    def forward(self, patches: Tensor, outputs: Tensor) -> Tensor:
        """(B, N, P) at (B, Q) -> (B, Q, P)."""
        return patches.gather(1, outputs.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))


class PixelTwin(IJEPA):
    """I-JEPA with pixels for targets. Its moving average is kept, and read as the target encoder of I-JEPA is."""

    name = "pixel-twin"

    def __init__(self, config: IJEPAConfig) -> None:
        super().__init__(config)
        self.pixels = Pixels()

    def build(self, c: Any) -> tuple[Encoder, Predictor]:
        """The same parts, but for the width of the last layer."""
        encoder, predictor = super().build(c)
        predictor.proj = Linear(c.predictor_width, c.channels * c.patch_size**2)
        return encoder, predictor

    @property
    def target_encoder(self) -> nn.Module:
        """What makes the targets."""
        return self.pixels

    def encoder_module(self, encoder: str = "target") -> nn.Module:
        """As in I-JEPA: the moving average is what one uses afterwards."""
        return (
            self.target.encoder(self.context_encoder)
            if encoder == "target"
            else super().encoder_module(encoder)
        )


METHODS: dict[str, type[IJEPA]] = {"ijepa": IJEPA, "pixels": PixelTwin}


class Distracted:
    """Images with the distractor on top, for training and for evaluation.

    Args:
        data: the images, normalised (their standard deviation is about 1).
        strength: standard deviation of the distractor, in the same units.
        shared: share of the variance of an amplitude that all patches of an image have in common.
    """

    def __init__(self, data: ImageDataset, strength: float, shared: float) -> None:
        self.data, self.strength, self.shared = data, strength, shared
        self.patterns = smooth_patterns()

    def __len__(self) -> int:
        return len(self.data)

    def draw(self, step: int, indices: np.ndarray, seed: int) -> Tensor:
        """Training images of one step."""
        return self.add(self.data.draw(step, indices, seed), self.amplitudes(seed, step, indices))

    def evaluation(self, indices: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Images, and the amplitudes (B, K) averaged over patches."""
        amplitudes = self.amplitudes(0, -1, indices)
        return self.add(self.data.evaluation(indices), amplitudes), amplitudes.mean(axis=1)

    def amplitudes(self, seed: int, step: int, indices: np.ndarray) -> np.ndarray:
        """(B, N, K), each of variance 1."""
        numbers = uniform(seed, "distractor", step, indices, 2 * (TOKENS + 1) * PATTERNS)
        # Box-Muller: two uniform numbers are one normal one here; 1 - u lies in (0, 1].
        u, v = np.split(numbers, 2, axis=1)
        normal = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)
        normal = normal.reshape(len(indices), TOKENS + 1, PATTERNS)
        return np.sqrt(self.shared) * normal[:, :1] + np.sqrt(1 - self.shared) * normal[:, 1:]

    def add(self, images: Tensor, amplitudes: np.ndarray) -> Tensor:
        """(B, 3, H, W) plus the distractor."""
        grid = SIDE // PATCH
        field = torch.from_numpy(amplitudes).float() @ self.patterns.flatten(1)
        field = field.view(-1, grid, grid, 3, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
        return images + self.strength * field


def smooth_patterns() -> Tensor:
    """(K, 3, P, P): grey cosines of low frequency without the constant one, of mean square 1 / K each."""
    place = (torch.arange(PATCH) + 0.5) * torch.pi / PATCH
    waves = [(i, j) for i in range(3) for j in range(3) if i + j][:PATTERNS]
    patterns = torch.stack([torch.outer(torch.cos(i * place), torch.cos(j * place)) for i, j in waves])
    patterns /= patterns.square().mean(dim=(1, 2), keepdim=True).sqrt() * PATTERNS**0.5
    return patterns[:, None].expand(-1, 3, -1, -1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train")
    parser.add_argument("--test")
    parser.add_argument("--methods", nargs="+", default=["untrained", *METHODS])
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.5, 1.5])
    parser.add_argument("--shared", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--labels", type=int, default=4000)
    parser.add_argument("--tests", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results so far")
    arguments = parser.parse_args()
    if arguments.table:
        print(table([json.loads(line) for line in arguments.out.read_text().splitlines()]))
        return
    for seed in arguments.seeds:
        for strength in arguments.strengths:
            for name in arguments.methods:
                record = run(name, strength, seed, arguments)
                with arguments.out.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(json.dumps(record), flush=True)


def run(name: str, strength: float, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the results."""
    begun = time.process_time()
    optim = OPTIM | {"steps": arguments.steps, "warmup_steps": arguments.steps // 10}
    config = from_dict(IJEPAConfig, MODEL | {"seed": seed, "optim": optim}).fit((3, SIDE, SIDE))
    method = METHODS.get(name, IJEPA)(config)
    record: dict[str, Any] = {"method": name, "strength": strength, "shared": arguments.shared, "seed": seed}
    record |= {key: getattr(arguments, key) for key in ("steps", "batch_size", "labels", "tests")}
    training, testing = (
        Distracted(
            ImageDataset.open(path, ImageConfig(flip=True), SIDE, labels=True), strength, arguments.shared
        )
        for path in (arguments.train, arguments.test)
    )
    if name != "untrained":
        record["verdict"] = pretrain(method, training, seed, arguments)
    record |= scores(method, training, testing, seed, arguments)
    record["cpu_minutes"] = (time.process_time() - begun) / 60
    record["command"] = " ".join(
        ["python", "benchmarks/noise_features.py", *(Path(a).name for a in sys.argv[1:])]
    )
    record["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    record["hardware"] = (
        f"{platform.machine()}, {torch.get_num_threads()} thread of a shared 2-core machine, torch {torch.__version__}"
    )
    return record


def pretrain(method: Method, data: Distracted, seed: int, arguments: argparse.Namespace) -> str:
    """Train with the library's own loop; what the doctor says at the end."""

    def loader(start: int, rank: int, world: int) -> Any:
        return build_loader(
            data, seed=seed, batch_size=arguments.batch_size, steps=arguments.steps, start_step=start
        )

    settings = TrainConfig(
        seed=seed, batch_size=arguments.batch_size, workers=0, accelerator="cpu", checkpoint_every=10**6
    )
    with tempfile.TemporaryDirectory() as scratch:
        result = train(method, loader, settings, Path(scratch) / "run")
    if not result.finished:
        raise SystemExit("interrupted")
    assert result.diagnosis is not None
    return str(result.diagnosis.verdict)


def scores(
    method: Method, training: Distracted, testing: Distracted, seed: int, arguments: argparse.Namespace
) -> dict[str, float]:
    """Linear probe on images with the distractor, and the share of it in the features."""
    method.eval()
    labels = training.data.source.labels
    chosen = balanced(labels, arguments.labels, seed)
    tests = np.arange(arguments.tests)

    def read(data: Distracted, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return features(lambda x: method.encode(x).pooled, data, indices)

    x, _ = read(training, chosen)
    y, amplitudes = read(testing, tests)
    probe = fit_linear(x, labels[chosen], seed=seed)
    return {
        "linear": probe.accuracy(y, testing.data.source.labels[tests]),
        "distractor_share": explained(y, amplitudes),
    }


def features(
    read: Callable[[Tensor], Tensor], data: Distracted, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, F) and mean amplitudes (n, K)."""
    found = []
    with torch.inference_mode():
        for part in np.array_split(indices, -(-len(indices) // 250)):
            images, amplitudes = data.evaluation(part)
            found.append((read(images).numpy(), amplitudes))
    return np.concatenate([f for f, _ in found]), np.concatenate([a for _, a in found])


def explained(features: np.ndarray, amplitudes: np.ndarray) -> float:
    """Share of the variance of the features that is a linear function of the distractor's amplitudes."""
    z, a = features - features.mean(0), amplitudes - amplitudes.mean(0)
    fitted = a @ np.linalg.lstsq(a, z, rcond=None)[0]
    return float((fitted**2).sum() / (z**2).sum())


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: mean and spread over seeds for each method and strength, and what the distractor costs."""
    groups: dict[tuple[str, float], dict[int, dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["method"], record["strength"]), {})[record["seed"]] = record
    lines = [
        "| targets | strength | seeds | linear probe | lost to the distractor | share of it in the features | doctor |",
        "|" + "---|" * 7,
    ]
    for (name, strength), runs in groups.items():
        clean = groups[name, 0.0]
        lost = [100 * (clean[seed]["linear"] - one["linear"]) for seed, one in runs.items() if seed in clean]
        cells = [
            name,
            f"{strength:g}",
            str(len(runs)),
            spread([100 * one["linear"] for one in runs.values()]),
            spread(lost) if strength else "",
            spread([100 * one["distractor_share"] for one in runs.values()]) + " %" if strength else "",
            ", ".join(sorted({one.get("verdict", "") for one in runs.values()})),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Mean, and standard deviation where there are several."""
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


if __name__ == "__main__":
    main()
