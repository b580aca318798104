"""The training of any method on any loader, with a run directory that can be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anyjepa.config import to_dict
from anyjepa.contract import Method
from anyjepa.errors import AnyjepaError
from anyjepa.monitoring.doctor import Diagnosis
from anyjepa.training.allocator import tune_allocator
from anyjepa.training.checkpoint import find_checkpoints
from anyjepa.training.config import TrainConfig
from anyjepa.training.module import LoaderFactory, TrainingModule
from anyjepa.training.recorder import Probe, Recorder
from anyjepa.training.run_dir import INFO, first_process, prepare, read_info, write_info
from anyjepa.training.trainer import build_trainer, quiet


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        run: run directory.
        step: completed optimizer steps.
        steps: those the training consists of.
        checkpoint: the newest checkpoint.
        diagnosis: what the doctor says of it; None in all processes but the first.
    """

    run: Path
    step: int
    steps: int
    checkpoint: Path | None
    diagnosis: Diagnosis | None = None

    @property
    def finished(self) -> bool:
        """False when a signal or a collapse ended the training early."""
        return self.step == self.steps


def train(
    method: Method,
    loader: LoaderFactory,
    config: TrainConfig,
    run: str | Path,
    *,
    content: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    probe: Probe | None = None,
) -> TrainResult:
    """Train ``method`` for ``method.optim.steps`` optimizer steps. With several devices, every process calls this.

    SIGTERM and Ctrl-C end it after the current step with a checkpoint (with several processes: after the next logged step).
    At the end the doctor's verdict is printed.

    Args:
        method: trained in place.
        loader: makes this process's batches from (start_step, rank, world).
        config: how to train.
        run: run directory.
        content: plain config put into the checkpoints; None: the name and the config of the method.
        resume: go on from the newest whole checkpoint, or from the start when there is none.
        overwrite: delete an old run in the directory.
        probe: scores the method in the first process before a line of the log is written, where one is due; what it
            returns goes into that line.

    Raises:
        ConfigError: the directory already holds a run, or the settings do not fit the machine.
        AnyjepaError: the loss is not finite any more, or the loader ended early.
        CheckpointError: the last checkpoint could not be written.
    """
    run = Path(run)
    if not torch.cuda.is_available() or config.accelerator == "cpu":
        tune_allocator()
    if first_process() and not resume:
        prepare(run, overwrite)
    if first_process() and not (run / INFO).exists():
        write_info(run)
    if content is None:
        content = {"method": method.name, "model": to_dict(method.config)}
    steps = method.optim.steps
    sharded = config.strategy == "fsdp"
    module = TrainingModule(method.train(), config, loader, sharded)
    name = read_info(run)["id"] if first_process() else ""
    recorder = Recorder(module, run, config, content, name, probe)
    with quiet():
        trainer = build_trainer(config, [recorder])
        try:
            trainer.fit(module)
        except Exception:
            if not recorder.stopped:
                raise
        finally:
            recorder.close()
    if not recorder.stopped and module.step < steps:
        raise AnyjepaError(
            f"the loader ended after step {module.step} of {steps}: it must give {config.accumulate} batches for each step"
        )
    found = find_checkpoints(run)
    diagnosis = recorder.watch.diagnosis() if trainer.is_global_zero else None
    result = TrainResult(run, module.step, steps, found[0] if found else None, diagnosis)
    if diagnosis:
        print(f"doctor: {diagnosis}")
    if recorder.stopped and trainer.is_global_zero:
        print(f"stopped after step {result.step} of {steps}; to go on: anyjepa resume {run}")
    return result
