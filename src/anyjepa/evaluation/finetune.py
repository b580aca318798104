"""Fine-tuning: the whole encoder and a linear layer on its pooled tokens are trained on the labels.

Layer-wise decay of the learning rate as in BEiT (arXiv 2106.08254) and MAE (arXiv 2111.06377, table 9): block l of L gets
``lr * decay^(L - l)``, so that what is general is changed least. Which parameters belong to which block is found from gradients,
so any method can be fine-tuned through ``encode`` alone. The linear layer starts as the linear probe (arXiv 2202.10054).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anyjepa.bundle import Inputs
from anyjepa.contract import Method
from anyjepa.errors import ConfigError
from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.samples import Samples
from anyjepa.evaluation.splits import epoch_rows
from anyjepa.evaluation.start import start_linear
from anyjepa.evaluation.task import Target
from anyjepa.randomness import derive_seed
from anyjepa.schedules import OptimConfig, learning_rate


@dataclass(frozen=True)
class FinetuneConfig:
    """How the encoder is fine-tuned."""

    lr: float = 1e-3
    """Learning rate of the linear layer and the last block."""
    layer_decay: float = 0.75
    """Factor of the learning rate from each block to the one below it (0.65 to 0.75 in BEiT and MAE); 1 from scratch."""
    weight_decay: float = 0.05
    """Weight decay of matrices (0.05 in BEiT and MAE)."""
    batch_size: int = 64
    """Samples per step."""
    epochs: int = 30
    """Passes over the training samples."""
    min_steps: int = 200
    """Steps at least, where few labels make short epochs."""
    max_steps: int = 2000
    """Steps at most."""
    crop_scale: tuple[float, float] = (0.8, 1.0)
    """Least and largest share of an image in a training crop; the whole image is what is scored."""
    clip: float = 1.0
    """Largest gradient norm."""

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1 or self.lr <= 0:
            raise ConfigError(
                f"expected lr > 0 and layer_decay in (0, 1], got lr={self.lr}, layer_decay={self.layer_decay}"
            )
        for name in ("batch_size", "epochs", "min_steps", "max_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")

    def steps(self, n: int) -> int:
        """Steps for ``n`` training samples."""
        return min(self.max_steps, max(self.min_steps, self.epochs * math.ceil(n / self.batch_size)))


@dataclass(frozen=True)
class FinetunedProbe:
    """A fine-tuned encoder.

    Attributes:
        method: a copy; the one that was given is as it was.
        head: linear layer on standardised pooled tokens.
        mean, scale: what pooled tokens are standardised with: those of the untouched encoder.
        target: the training labels.
        encoder: which encoder was tuned.
    """

    method: Method
    head: nn.Linear
    mean: Tensor
    scale: Tensor
    target: Target
    encoder: str

    def outputs(self, inputs: Inputs) -> Tensor:
        """Class scores, or the value, of samples as evaluation sees them."""
        pooled = self.method.encode(inputs, encoder=self.encoder).pooled
        return self.head((pooled - self.mean) / self.scale)

    @torch.inference_mode()
    def predict(self, samples: Samples, positions: np.ndarray, batch_size: int = 256) -> Labels:
        """Classes or values of the samples at these positions."""
        outputs = [
            self.outputs(samples.whole(part).to(self.mean.device)).cpu()
            for part in np.array_split(positions, math.ceil(len(positions) / batch_size))
        ]
        return self.target.decode(torch.cat(outputs))


def fit_finetune(
    method: Method,
    samples: Samples,
    positions: np.ndarray,
    labels: Labels,
    *,
    encoder: str = "target",
    seed: int = 0,
    config: FinetuneConfig | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> FinetunedProbe:
    """Fine-tunes a copy of the encoder, for a number of steps set by the number of labels.

    Args:
        method: what to start from.
        samples: the images.
        positions: (n,) the training samples in it.
        labels: (n,) their classes, or values when they are floats.
        encoder: ``"target"`` or ``"context"``.
        seed: of the order of the samples and their crops.
        config: how to train.
        device: where to compute.
        progress: called with (steps done, steps in all).

    Raises:
        DataError: there is one class, or one value, only.
    """
    config = config or FinetuneConfig()
    target = Target.of(labels)
    encoded = target.encode(labels)
    method = copy.deepcopy(method).to(device).requires_grad_(True)
    pooled = _pooled(method.eval(), samples, positions, encoder, device)
    spread = pooled.std(dim=0, correction=0)
    # An almost constant feature must not become the largest one.
    mean, scale = pooled.mean(dim=0), spread.clamp(min=float(spread.mean()) * 0.05 + 1e-6)
    levels = parameter_levels(method, samples.whole(positions[:1]).to(device), encoder)

    with torch.random.fork_rng(devices=[]):
        # Only for what a method draws itself, stochastic depth say.
        torch.manual_seed(derive_seed(seed, "evaluation/finetune"))
        head = nn.Linear(len(mean), target.outputs, device=device)
        start_linear(head, ((pooled - mean) / scale).cpu().numpy(), labels, target, seed)
        tuned = FinetunedProbe(method, head, mean, scale, target, encoder)
        optimizer = torch.optim.AdamW(_groups(method, head, levels, config))
        steps = config.steps(len(positions))
        method.train()
        for step in range(steps):
            rows = epoch_rows(len(positions), config.batch_size, step, seed)
            images = samples.draw(
                step, positions[rows], derive_seed(seed, "evaluation/crops"), config.crop_scale
            )
            loss = target.losses(tuned.outputs(images.to(device)), encoded[rows].to(device)).mean()
            _update(optimizer, loss, step, steps, config.clip)
            if progress is not None:
                progress(step + 1, steps)
    method.eval()
    return tuned


def _update(optimizer: torch.optim.Optimizer, loss: Tensor, step: int, steps: int, clip: float) -> None:
    """One step, its learning rates after a warm-up on a cosine down to 0."""
    schedule = OptimConfig(steps=steps, warmup_steps=steps // 10, start_lr=0.0, lr=1.0, final_lr=0.0)
    for group in optimizer.param_groups:
        group["lr"] = group["share"] * learning_rate(schedule, step + 1)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    optimizer.step()


def parameter_levels(method: Method, images: Inputs, encoder: str) -> dict[str, int]:
    """The first block whose output depends on each parameter of an encoder, from 0; parameters it does not use are left out.

    Args:
        method: all its parameters must require gradients.
        images: an input to try it with.
        encoder: ``"target"`` or ``"context"``.
    """
    everything = _used(method, images, encoder, -1)
    levels: dict[str, int] = {}
    layer = 0
    while len(levels) < len(everything):
        try:
            found = _used(method, images, encoder, layer)
        except IndexError:
            # What only the last block's output depends on belongs to it.
            found, layer = everything, max(0, layer - 1)
        for name in found:
            levels.setdefault(name, layer)
        layer += 1
    return levels


def _used(method: Method, images: Inputs, encoder: str, layer: int) -> list[str]:
    named = dict(method.named_parameters())
    tokens = method.encode(images, encoder=encoder, layer=layer).tokens
    found = torch.autograd.grad(tokens.sum(), list(named.values()), allow_unused=True)
    return [name for name, gradient in zip(named, found, strict=True) if gradient is not None]


def _groups(
    method: Method, head: nn.Linear, levels: dict[str, int], config: FinetuneConfig
) -> list[dict[str, object]]:
    """Parameters by block, with and without weight decay."""
    top = max(levels.values(), default=0)
    groups: dict[tuple[int, bool, str], list[Tensor]] = {}
    for name, parameter in method.named_parameters():
        if name in levels:
            groups.setdefault((levels[name], parameter.ndim > 1, "encoder"), []).append(parameter)
    for parameter in head.parameters():
        groups[top, parameter.ndim > 1, "head"] = [parameter]
    return [
        {
            "params": parameters,
            "share": config.lr * config.layer_decay ** (top - key[0]),
            "weight_decay": config.weight_decay if key[1] else 0.0,
        }
        for key, parameters in groups.items()
    ]


@torch.no_grad()
def _pooled(
    method: Method,
    samples: Samples,
    positions: np.ndarray,
    encoder: str,
    device: torch.device | str,
    batch_size: int = 256,
) -> Tensor:
    """Pooled representations (n, D) of whole images, before anything is changed."""
    parts = np.array_split(positions, math.ceil(len(positions) / batch_size))
    return torch.cat(
        [method.encode(samples.whole(part).to(device), encoder=encoder).pooled.float() for part in parts]
    )
