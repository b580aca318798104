"""The Lightning module around a method: what happens in one optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from anyjepa.contract import Batch, Method
from anyjepa.monitoring.observe import observe
from anyjepa.randomness import derive_seed
from anyjepa.training.config import TrainConfig
from anyjepa.training.optimizer import build_optimizer, set_schedules
from anyjepa.training.sharding import shard

LoaderFactory = Callable[[int, int, int], Iterable[Batch]]
"""Makes the batches of one process from (start_step, rank, world): ``accumulate`` micro-batches for each step from
``start_step`` on, each with this process's share of the samples."""


class TrainingModule(LightningModule):
    """Trains ``method``; knows the outer contract alone.

    Attributes:
        step: number of completed optimizer steps, over all sessions of the run.
        finished: the losses of the steps completed since somebody last emptied this list. They stay on the device:
            reading them there would make the host wait for every single step.
        updating: True while weights, optimizer state and moving averages are not all of the same step.
        observed: statistics of the newest logged step: of samples of its last micro-batch in the first process, and the norm of
            the whole gradient.
    """

    def __init__(
        self, method: Method, config: TrainConfig, loader: LoaderFactory, sharded: bool = False
    ) -> None:
        super().__init__()
        self.method = method
        self.step = 0
        self.finished: list[dict[str, Tensor]] = []
        self.updating = False
        self.observed: dict[str, float] = {}
        self._settings = config
        self._loader = loader
        self._sharded = sharded
        self._micro: list[dict[str, Tensor]] = []

    def configure_model(self) -> None:
        """Shard and compile. Lightning calls this when the processes are connected, before the optimizer exists."""
        if self._sharded:
            shard(self.method, self.device_mesh["data_parallel"])  # type: ignore[index]
            self._sharded = False
        if self._settings.compile:
            for unit in self.method.compile_units():
                unit.compile()

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.method)

    def train_dataloader(self) -> Iterable[Batch]:
        return self._loader(self.step, self.trainer.global_rank, self.trainer.world_size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one micro-batch; Lightning divides it by their number and delays the gradient sync to the last."""
        accumulate = self._settings.accumulate
        stream = self.trainer.global_rank * accumulate + batch_idx % accumulate
        # Whatever a method draws from torch's global generators becomes a function of the step as well.
        seed = derive_seed(self._settings.seed, "torch", self.step, stream)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        output = self.method(batch)
        if (
            self.trainer.is_global_zero
            and batch_idx % accumulate == accumulate - 1
            and self.is_logged(self.step + 1)
        ):
            self.observed = observe(output)
        self._micro.append({**output.losses, "loss": output.loss.detach()})
        return output.loss

    def is_logged(self, step: int) -> bool:
        """Whether a step, from 1, goes into the log: the first, the last, and every ``log_every``-th."""
        return step in (1, self.method.optim.steps) or step % self._settings.log_every == 0

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.updating = True

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        clip = self.method.optim.clip
        logged = self.is_logged(self.step + 1)
        if clip is None and not logged:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        if clip is not None:
            clip_grads_with_norm_(parameters, clip, norm)
        if logged:
            whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
            self.observed["gradient_norm"] = float(whole)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Schedules, forward and backward of the last micro-batch (the closure), update, moving averages."""
        set_schedules(self.trainer.optimizers[0], self.method.optim, self.step + 1)
        optimizer.step(closure=optimizer_closure)
        self.method.after_step(self.step)
        self.step += 1
        self.updating = False
        names = self._micro[-1]
        self.finished.append({n: torch.stack([micro[n] for micro in self._micro]).mean(0) for n in names})
        self._micro.clear()
