"""Everything that happens around the steps: log, progress, checkpoints, and stopping in good order."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from anyjepa.contract import Method
from anyjepa.errors import AnyjepaError, CheckpointError
from anyjepa.monitoring.advice import advise
from anyjepa.monitoring.doctor import DIVERGED
from anyjepa.monitoring.examine import read_rows
from anyjepa.training import checkpoint
from anyjepa.training.config import TrainConfig
from anyjepa.training.lines import disk_full
from anyjepa.training.log import Sink, open_sinks
from anyjepa.training.module import TrainingModule
from anyjepa.training.progress import Progress, open_progress
from anyjepa.training.run_dir import add_info
from anyjepa.training.state import gather_model, gather_optimizer, restore_model, restore_optimizer
from anyjepa.training.tensorfile import read_tensors
from anyjepa.training.watch import Watch

log = logging.getLogger(__name__)


Probe = Callable[[Method, int], Mapping[str, float]]
"""Named scores of a method after so many steps; empty where none is due."""


class Recorder(Callback):
    """Keeps the run directory of a :class:`TrainingModule` up to date.

    Args:
        module: what trains.
        run: its run directory, which exists.
        config: how to train.
        content: plain config that goes into the checkpoints.
        name: unique name of the run, for loggers that need one.
        probe: scores for the log.

    Attributes:
        stopped: whether a signal, or a collapse, ended the training before its last step.
        watch: the doctor beside the training.
    """

    def __init__(
        self,
        module: TrainingModule,
        run: Path,
        config: TrainConfig,
        content: Mapping[str, Any],
        name: str,
        probe: Probe | None = None,
    ) -> None:
        self.stopped = False
        self.watch = Watch(module.method, content, config.on_collapse)
        self._module, self._run, self._config, self._name = module, run, config, name
        self._probe = probe
        self._found: Path | None = None
        self._saved = self._seen = 0
        self._asked = self._recording = False
        self._sinks: list[Sink] = []
        self._progress: Progress | None = None
        self._seconds = self._rate = 0.0

    # Starting

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Rank 0 chooses the checkpoint to start from; the loader, made later, starts at its step."""
        if trainer.is_global_zero:
            checkpoint.clean(self._run)
            self._found = checkpoint.latest(self._run)
        self._found = trainer.strategy.broadcast(self._found)
        self._module.step = self._saved = self._seen = checkpoint.step_of(self._found) if self._found else 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Weights and optimizer state come back when both are where they train."""
        if self._found:
            self._seconds = checkpoint.read_state(self._found).seconds
            restore_model(self._module.method, read_tensors(self._found / checkpoint.MODEL))
            saved = read_tensors(self._found / checkpoint.OPTIMIZER)
            restore_optimizer(self._module.method, trainer.optimizers[0], saved)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin = self._mark = time.monotonic()
        self._mark_step = self._seen
        if threading.current_thread() is threading.main_thread():
            # Lightning's handler for SIGTERM, installed just before, would end the run without a checkpoint; it puts back
            # the handlers from before the training when it ends.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
        remedied = False
        if trainer.is_global_zero:
            if self._found:
                print(f"going on after step {self._seen}, from {self._found}")
            self._sinks = open_sinks(
                self._run, self._config.loggers, self._seen, self.watch.content, self._name
            )
            remedied = self.watch.replay(read_rows(self._run))
            self._progress = open_progress(self._seen, self._module.method.optim.steps)

        if trainer.strategy.broadcast(trainer.is_global_zero and remedied):
            self.watch.act(told=False)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        if hasattr(signal, "SIGCHLD"):
            # A signal to the whole process group ends the loader's workers too. Torch's handler would raise for them anywhere,
            # even in the middle of an update; without it the loader itself raises, between two steps (see on_exception).
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    # After each step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        module = self._module
        step = module.step
        if step == self._seen:
            return  # a micro-batch that did not complete a step
        self._recording = True
        self._seen, last = step, step == module.method.optim.steps
        log_due = module.is_logged(step)
        save_due = last or step % self._config.checkpoint_every == 0
        alone = trainer.world_size == 1
        # Reading a loss makes the host wait for the device and the processes for each other, so it is done rarely.
        if log_due or save_due or (alone and (self._asked or module.device.type == "cpu")):
            losses, stop = self._read(trainer)
            if log_due:
                stop |= self._log(trainer, losses)
            elif self._progress:
                self._progress.update(step, losses["loss"], self._rate)
            if save_due or stop:
                self._save(trainer, must=last or stop)
            if stop and not last:
                self.stopped = trainer.should_stop = True
        self._recording = False

    def _read(self, trainer: Trainer) -> tuple[dict[str, float], bool]:
        """Losses of the newest step, averaged over processes, and whether any process was told to stop.

        Raises:
            AnyjepaError: the loss of a step since the last reading is not finite.
        """
        steps, self._module.finished = self._module.finished, []
        names = list(steps[-1])
        flat = [entry[n].float() for entry in steps for n in names]
        flat.append(torch.tensor(float(self._asked), device=flat[0].device))
        *values, asked = trainer.strategy.reduce(torch.stack(flat), reduce_op="mean").tolist()
        rows = [
            dict(zip(names, values[i : i + len(names)], strict=True))
            for i in range(0, len(values), len(names))
        ]
        for step, row in enumerate(rows, start=self._seen - len(rows) + 1):
            if not math.isfinite(row["loss"]):
                for sink in self._sinks:
                    sink.write({"step": step, **row})
                raise AnyjepaError(
                    f"{DIVERGED}: the loss became {row['loss']} at step {step}; the last checkpoint is of step {self._saved}. "
                    f"What usually helps: {'; '.join(advise(DIVERGED, self.watch.content))}"
                )
        return rows[-1], asked > 0

    def _log(self, trainer: Trainer, losses: Mapping[str, float]) -> bool:
        """Write a line of the log and show it to the doctor; returns whether the training must stop."""
        now = time.monotonic()
        self._rate = (self._seen - self._mark_step) * self._config.batch_size / max(now - self._mark, 1e-9)
        decaying = max(group["weight_decay"] for group in trainer.optimizers[0].param_groups)
        scores = (
            self._probe(self._module.method, self._seen) if self._probe and trainer.is_global_zero else {}
        )
        row = {
            "step": self._seen,
            "loss": losses["loss"],
            **losses,
            **self._module.observed,
            **scores,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "weight_decay": decaying,
            "samples_per_second": self._rate,
            "seconds": self._seconds + now - self._begin,
        }
        # The time of the probe is not the training's.
        self._mark, self._mark_step = time.monotonic(), self._seen
        for sink in self._sinks:
            sink.write(row)
        if self._progress:
            self._progress.update(self._seen, losses["loss"], self._rate)
        # The rows of the first process decide for all: each sees samples of its own.
        act = trainer.strategy.broadcast(trainer.is_global_zero and self.watch.see(row))
        if not act:
            return False
        stop = self.watch.act(told=trainer.is_global_zero)
        if trainer.is_global_zero and not stop:
            # The config file stays what the user asked for; the doctor reads here what has come on top.
            add_info(self._run, remedy={"step": self._seen, "model": self.watch.content.get("model")})
        return stop

    def _save(self, trainer: Trainer, must: bool) -> None:
        """Write a checkpoint. A full disk does not end the training, unless this is the last chance (``must``)."""
        if self._saved == self._seen:
            return
        first = trainer.is_global_zero
        model = gather_model(self._module.method, keep=first)
        optimizer = gather_optimizer(self._module.method, trainer.optimizers[0], keep=first)
        problem = None
        if first:
            seconds = self._seconds + time.monotonic() - self._begin
            try:
                for sink in self._sinks:
                    sink.sync()
                checkpoint.save(
                    self._run, checkpoint.State(self._seen, seconds, self.watch.content), model, optimizer
                )
                checkpoint.rotate(self._run, self._config.keep_checkpoints)
            except OSError as error:
                if not disk_full(error):
                    raise
                problem = (
                    f"the disk is full: the checkpoint of step {self._seen} could not be written; the newest whole one "
                    f"in {self._run} is of step {self._saved}"
                )
        problem = trainer.strategy.broadcast(problem)
        if problem is None:
            self._saved = self._seen
        elif must:
            raise CheckpointError(f"{problem}: free some space and resume")
        elif first:
            log.error("%s; training goes on", problem)

    # Ending

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """When the signal to stop has ended the loader's workers too, the checkpoint is still due."""
        whole = not (self._module.updating or self._recording) and self._module.step == self._seen > 0
        if self._asked and whole and trainer.world_size == 1:
            if self._module.finished:
                self._read(trainer)
            self._save(trainer, must=True)
            self.stopped = True

    def close(self) -> None:
        """Close the log, however the training ended."""
        if self._progress:
            self._progress.close()
        for sink in self._sinks:
            sink.close()
        self._sinks, self._progress = [], None
