"""How a training is run: everything that is neither the method nor the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anyjepa.errors import ConfigError, nearest

LOGGERS = ("tensorboard", "wandb")


@dataclass(frozen=True)
class OnlineProbeConfig:
    """A probe during training, on labelled data of its own."""

    data: str | None = None
    """Labelled data, as for `anyjepa probe`; None: no probe. The pretraining never sees the labels."""
    every: int = 200
    """Steps between two scores. The first and the last step always have one."""
    samples: int = 2000
    """Use that many labelled samples, as many of each class: four fifths to fit, one to score."""

    def __post_init__(self) -> None:
        for name in ("every", "samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"online_probe.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop. Length and schedules belong to the method (its ``optim``)."""

    seed: int = 0
    """Seed of the order of the samples, and of all crops, masks and dropout."""
    batch_size: int = 128
    """Samples per optimizer step, over all processes and accumulated micro-batches."""
    accumulate: int = 1
    """Micro-batches per optimizer step: the same batch in less memory."""
    workers: int = 2
    """Processes that load data, for each training process; 0 loads in the training process itself."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic: float32, or bfloat16 autocast with float32 weights."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; auto: on a GPU where there is one, else on the CPU."""
    devices: int = 1
    """GPUs (or CPU processes) of each node; -1: all GPUs."""
    nodes: int = 1
    """Number of machines."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several devices share the work. ddp: each holds the whole model; fsdp: weights, gradients and optimizer
    state are cut into shards (FSDP2). auto: ddp where there are several."""
    compile: bool = False
    """Compile the repeated modules of the method with ``torch.compile``."""
    deterministic: bool = False
    """Use only deterministic kernels, so that a GPU run repeats bit for bit too (slower; the CPU always does)."""
    on_collapse: Literal["warn", "stop", "regularize"] = "warn"
    """What to do when the doctor sees a collapse: say so; say so, write a checkpoint and stop; or say so and switch on the
    method's regularizer from there on."""
    log_every: int = 10
    """Steps between two lines of the log. The first and the last step are always logged."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints. One is always written at the end."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints to keep."""
    loggers: tuple[str, ...] = ()
    """Where to log besides ``log.jsonl`` and ``log.csv``: ``tensorboard``, ``wandb``."""

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "accumulate",
            "nodes",
            "log_every",
            "checkpoint_every",
            "keep_checkpoints",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        if self.workers < 0:
            raise ConfigError(f"train.workers must be at least 0, got {self.workers}")
        if self.devices == 0 or self.devices < -1:
            raise ConfigError(f"train.devices must be at least 1, or -1 for all GPUs; got {self.devices}")
        for logger in self.loggers:
            if logger not in LOGGERS:
                raise ConfigError(f"unknown logger '{logger}': {nearest(logger, LOGGERS)}")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"train.batch_size={self.batch_size} cannot be cut into train.accumulate={self.accumulate} equal "
                f"micro-batches: use a batch size of {-(-self.batch_size // self.accumulate) * self.accumulate}"
            )
