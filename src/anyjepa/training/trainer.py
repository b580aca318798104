"""The Lightning trainer that fits the settings: one device, DDP, or FSDP2."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from anyjepa.errors import ConfigError
from anyjepa.training.config import TrainConfig


def build_trainer(config: TrainConfig, callbacks: list[Callback]) -> Trainer:
    """A trainer for one pass over a loader. Steps, logs and checkpoints are not its business.

    Raises:
        ConfigError: the devices are not there, or the batch cannot be shared among them.
    """
    gpus = torch.cuda.device_count()
    accelerator = ("gpu" if gpus else "cpu") if config.accelerator == "auto" else config.accelerator
    if accelerator == "gpu" and gpus == 0:
        raise ConfigError(
            "train.accelerator=gpu, but torch sees no GPU here: use accelerator=cpu or a CUDA build of torch"
        )
    devices = config.devices if config.devices > 0 else max(1, gpus)
    if accelerator == "gpu" and devices > gpus:
        raise ConfigError(f"train.devices={devices}, but there are {gpus} GPUs: use devices={gpus} or -1")
    world = devices * config.nodes
    if config.batch_size % (world * config.accumulate):
        unit = world * config.accumulate
        near = max(1, round(config.batch_size / unit)) * unit
        raise ConfigError(
            f"train.batch_size={config.batch_size} cannot be shared equally by {world} processes in {config.accumulate} "
            f"micro-batches: use {near}"
        )
    options: dict[str, Any] = {}
    if config.deterministic:
        options["deterministic"] = True
    if SLURMEnvironment.detect():
        # Lightning's own requeueing would write pickled checkpoints.
        options["plugins"] = [SLURMEnvironment(auto_requeue=False)]
    return Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=config.nodes,
        strategy=_strategy(config, world),
        precision=config.precision,
        accumulate_grad_batches=config.accumulate,
        max_epochs=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )


def _strategy(config: TrainConfig, world: int) -> Strategy | str:
    if config.strategy == "fsdp":
        return ModelParallelStrategy(data_parallel_size=world, tensor_parallel_size=1)
    if config.strategy == "ddp" or world > 1:
        return DDPStrategy(gradient_as_bucket_view=True)
    return "auto"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's notes about itself (devices found, tips, hints to loaders) off the screen."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
