"""Trainings whose state is known by construction, small enough to be run by a test, in two modalities."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

import anyjepa
from anyjepa.contract import Batch, Method, Output
from anyjepa.masking.random import RandomMaskConfig, random_masks
from anyjepa.methods.ijepa import IJEPAConfig
from anyjepa.monitoring.observe import observe
from anyjepa.nn.predictor import Predictor
from anyjepa.nn.transformer import Encoder, initialise
from anyjepa.objectives.distances import distance
from anyjepa.objectives.regularizers import RegularizerConfig, regularize
from anyjepa.objectives.targets import TargetRule
from anyjepa.schedules import OptimConfig, ema_momentum
from anyjepa.tokenizers.patches import PatchTokenizer
from anyjepa.training.optimizer import build_optimizer, set_schedules

VICREG = {"kind": "vicreg", "level": "both", "weight": 0.2, "covariance": 1.0}
STEPS = 240
BATCH = 64
SAMPLES = 1024


@dataclass(frozen=True)
class SignalConfig:
    target: str = "ema"
    ema: tuple[float, float] = (0.99, 1.0)
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    seed: int = 0
    optim: OptimConfig = field(default_factory=OptimConfig)


class SignalJEPA(Method):
    """A masked-latent method for signals (B, 1, 256), put together from the public parts."""

    def __init__(self, config: SignalConfig) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            tokenizer = PatchTokenizer((256,), (8,), 1, 32)
            self.encoder = Encoder(tokenizer, dim=32, depth=2, heads=2)
            self.predictor = Predictor(tokenizer.layout, dim=32, width=32, depth=2, heads=2)
            initialise(self)
            torch.nn.init.trunc_normal_(tokenizer.proj.weight, std=0.3)
        self.target = TargetRule(self.encoder, config.target)

    def forward(self, batch: Batch | Tensor) -> Output:
        assert isinstance(batch, Batch)
        patches = self.encoder.tokenizer.cut(batch.inputs)
        layout = self.encoder.tokenizer.layout
        masks = random_masks(
            RandomMaskConfig(), layout, seed=batch.seed, step=batch.step, index=batch.index.numpy()
        )
        with torch.set_grad_enabled(self.config.target == "online"):
            everything = self.target.encoder(self.encoder)(patches)
            everything = torch.nn.functional.layer_norm(everything, everything.shape[-1:])
        places = masks.targets.flatten(1)
        target = everything.gather(1, places[..., None].expand(-1, -1, 32)).unsqueeze(1)
        context = self.encoder(patches, masks.context)
        predicted = self.predictor(context, masks.context, masks.targets)
        loss = distance("smooth_l1")(predicted, target)
        term = regularize(self.config.regularizer, context, seed=batch.seed, step=batch.step)
        if term is not None:
            loss = loss + self.config.regularizer.weight * term
        return Output(loss, {}, context, predicted, target.detach(), masks)

    def after_step(self, step: int) -> None:
        self.target.update(self.encoder, ema_momentum(*self.config.ema, self.optim, step))


@functools.cache
def data(modality: str) -> Tensor:
    """1024 crops (3, 24, 24) of two photos, or as many signals (1, 256): sums of three waves and a pulse, and noise."""
    generator = np.random.default_rng(0)
    if modality == "images":
        photos = [photo.astype(np.float32) / 64 - 2 for photo in load_sample_images().images]
        places = generator.integers(0, (400, 600), (SAMPLES, 2))
        crops = [photos[i % 2][y : y + 24, x : x + 24] for i, (y, x) in enumerate(places)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
    t = np.arange(256) / 256
    shape = (SAMPLES, 3, 1)
    waves = generator.normal(size=shape) * np.sin(
        2 * np.pi * (generator.uniform(1, 12, shape) * t + generator.uniform(0, 1, shape))
    )
    pulse = 3 * np.exp(-(((t - generator.uniform(0, 1, (SAMPLES, 1))) / 0.03) ** 2))
    signals = waves.sum(1) + pulse + 0.1 * generator.normal(size=(SAMPLES, 256))
    return torch.from_numpy(signals.astype(np.float32)).unsqueeze(1)


def build(modality: str, *, seed: int, lr: float = 2e-3, steps: int = STEPS, **fields) -> Method:
    """A tiny method of the modality."""
    optim = OptimConfig(
        steps=steps, warmup_steps=steps // 8, lr=lr, start_lr=min(lr, 2e-4), final_weight_decay=0.04
    )
    regularizer = RegularizerConfig(**fields.pop("regularizer", {}))
    common = dict(seed=seed, ema=(0.98, 1.0), regularizer=regularizer, optim=optim) | fields
    if modality == "signals":
        return SignalJEPA(SignalConfig(**common))
    config = IJEPAConfig(
        size="nano", dim=32, depth=2, heads=2, predictor_width=32, predictor_depth=2, predictor_heads=2,
        patch_size=4, image_size=(24, 24), **common,
    )  # fmt: skip
    masks = replace(config.masks, truncate="pad", target_scale=(0.15, 0.3))
    return anyjepa.create("ijepa", replace(config, masks=masks))


class OfAnother(torch.nn.Module):
    """An encoder that is given the next sample of the batch instead of its own."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, patches: Tensor, **options: Tensor) -> Tensor:
        return self.encoder(patches.roll(1, 0), **options)


def shuffled(method: Method) -> Method:
    """The same method with targets of another sample: nothing can be learned but the mean of each place."""
    inner = method.target.encoder
    method.target.encoder = lambda online: OfAnother(inner(online))
    return method


class Bottleneck(torch.nn.Module):
    """Lets two directions through."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.narrow, self.wide = torch.nn.Linear(dim, 2), torch.nn.Linear(2, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(self.narrow(x))


def narrowed(method: Method) -> Method:
    """The same method with encoders whose representations have two dimensions."""
    encoder = method.encoder if isinstance(method, SignalJEPA) else method.context_encoder
    encoder.norm = torch.nn.Sequential(encoder.norm, Bottleneck(32))
    method.target = TargetRule(encoder, "ema")
    return method


def rows(method: Method, modality: str, *, seed: int = 0, steps: int = STEPS, every: int = 10) -> list[dict]:
    """Train, and return the lines the log would have; ends early when the loss is not finite."""
    x, optimizer, found = data(modality), build_optimizer(method), []
    order = torch.Generator().manual_seed(seed)
    for step in range(steps):
        index = torch.randperm(len(x), generator=order)[:BATCH]
        set_schedules(optimizer, method.optim, step + 1)
        output = method(Batch(x[index], index, step=step, seed=seed))
        loss = output.loss.item()
        due = step == 0 or (step + 1) % every == 0
        if not np.isfinite(loss):
            return [*found, {"step": step + 1, "loss": None}]
        optimizer.zero_grad()
        output.loss.backward()
        gradients = [p.grad for p in method.parameters() if p.grad is not None]
        if due:
            norm = float(torch.nn.utils.get_total_norm(gradients))
            found.append({"step": step + 1, "loss": loss, **observe(output), "gradient_norm": norm})
        optimizer.step()
        method.after_step(step)
    return found


STATES = {
    "healthy": lambda modality, seed: build(modality, seed=seed, regularizer=VICREG),
    "complete collapse": lambda modality, seed: build(modality, seed=seed, target="online"),
    "dimensional collapse": lambda modality, seed: narrowed(
        build(modality, seed=seed, regularizer={"kind": "variance", "level": "both", "weight": 0.2})
    ),
    "not learning": lambda modality, seed: shuffled(build(modality, seed=seed, regularizer=VICREG)),
    "diverged": lambda modality, seed: build(modality, seed=seed, lr=30.0, regularizer=VICREG),
}
"""Trainings by the verdict they deserve."""
