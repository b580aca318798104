"""From a config to a trained encoder, and on from wherever a run was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed

from anyjepa.bundle import Shape, described
from anyjepa.contract import Method
from anyjepa.data import Dataset, Source, build_loader
from anyjepa.data.broken import Broken, explain
from anyjepa.data.modality import Modality, Report
from anyjepa.errors import CheckpointError, ConfigError, DataError
from anyjepa.evaluation.online import OnlineProbe
from anyjepa.hub.load import read
from anyjepa.hub.read import Loaded
from anyjepa.hub.start import adopt, start
from anyjepa.monitoring.examine import examine
from anyjepa.randomness import derive_seed
from anyjepa.registry import entry
from anyjepa.training.checkpoint import find_checkpoints, latest, step_of
from anyjepa.training.loop import TrainResult, train
from anyjepa.training.module import LoaderFactory
from anyjepa.training.recorder import Probe
from anyjepa.training.run_config import RunConfig
from anyjepa.training.run_dir import (
    BROKEN,
    CONFIG,
    first_process,
    prepare,
    read_info,
    write_info,
    write_whole,
)


def pretrain(config: RunConfig, *, overwrite: bool = False, source: Source | None = None) -> TrainResult:
    """Look at the data, fill in what the config leaves open, and train into ``config.out``.

    Args:
        config: what to do.
        overwrite: delete an old run in the directory.
        source: samples that are in memory; ``config.data`` is then only their name, and such a run cannot be resumed.

    Raises:
        ConfigError: the directory holds a run, or settings do not fit each other, the data or the machine.
        DataError: the data cannot be read.
    """
    run, modality, reading = Path(config.out), config.modality, config.reading
    # Before an old run in the directory is deleted: what cannot be loaded is known by then.
    weights = _weights(config)
    if first_process():
        prepare(run, overwrite)
    if weights is not None:
        reading = modality.continued(reading, weights.reading)
    source = source or modality.open(config.data, reading)
    if weights is not None:
        modality.meets(source, weights.method.input_shape())
    report = modality.inspect(source, reading)
    _refuse_broken(report, config)
    source, reading = modality.settle(source, reading)
    model = modality.place(config.model, source, reading)
    if weights is not None:
        model = adopt(model, config.method, weights)
    if hasattr(model, "fit"):
        model = model.fit(modality.shape(source, reading, report))
    method = _build(replace(config, model=model), weights)
    expected = method.input_shape()
    if isinstance(expected, tuple):
        _check(method, (source.channels, *expected[1:]), modality)
    reading = modality.suit(reading, expected)
    config = replace(config, model=method.config, reading=reading)
    dataset = modality.dataset(source, reading)
    _check(method, dataset.shape, modality)
    probe = _online_probe(config, method)
    if first_process():
        print(report)
        if hasattr(model, "summary"):
            print(model.summary())
        write_info(run, samples=len(source))
        config.save(run / CONFIG)  # last: a directory with a config is a run that can be resumed
    return _train(config, run, method, dataset, probe)


def resume(run: str | Path) -> TrainResult:
    """Go on with a run from its newest whole checkpoint; from the start when there is none yet.

    Raises:
        CheckpointError: this is not a run directory, or its checkpoints belong to another model.
        DataError: the data cannot be read, or are not as many as when the run began.
    """
    run = Path(run)
    if not (run / CONFIG).is_file():
        raise CheckpointError(f"{run} is not a run directory: it has no {CONFIG}")
    config = RunConfig.load(run / CONFIG)
    steps = config.model.optim.steps
    newest = find_checkpoints(run)[:1]
    if newest and step_of(newest[0]) == steps and latest(run) == newest[0]:
        if first_process():
            print(f"{run} is finished: all {steps} steps are done")
        return TrainResult(run, steps, steps, newest[0], examine(run))
    source = _open(config)
    before = read_info(run).get("samples")
    if before not in (None, len(source)):
        raise DataError(
            f"{config.data} has {len(source)} samples, it had {before} when the run began: an exact resume needs the same data"
        )
    # A run that died before its first checkpoint starts once more where it started.
    weights = _weights(config) if config.init and latest(run) is None else None
    method, dataset = _build(config, weights), config.modality.dataset(source, config.reading)
    _check(method, dataset.shape, config.modality)
    return _train(config, run, method, dataset, _online_probe(config, method))


def _train(
    config: RunConfig, run: Path, method: Method, dataset: Dataset, probe: Probe | None
) -> TrainResult:
    try:
        return train(
            method,
            _loader(config, dataset),
            config.train,
            run,
            content=config.plain(),
            resume=True,
            probe=probe,
        )
    finally:
        # Also after an error: too many broken images may be what ended the training.
        _list_broken(dataset, run)


def _refuse_broken(report: Report, config: RunConfig) -> None:
    most, kind = config.reading.max_broken, config.modality
    if len(report.broken) > most * report.looked_at:
        raise DataError(
            f"{len(report.broken)} of the {report.looked_at} {kind.noun} looked at cannot be read, more than"
            f" {kind.name}.max_broken={most:.0%}; the first: {report.broken[0].reason}. To list them all: anyjepa inspect"
            f" {config.data} --all --broken-list broken.txt"
        )


def _list_broken(dataset: Dataset, run: Path) -> None:
    """Tell of the images this process has skipped, and add them to the list in the run directory."""
    rows = dataset.broken
    if not rows:
        return
    rank = distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
    path = run / (f"broken.rank{rank}.txt" if rank else BROKEN)
    known = [Broken.parse(line) for line in path.read_text().splitlines()] if path.exists() else []
    listed = {broken.name: broken for broken in [*known, *explain(dataset.source, rows)]}
    try:
        write_whole(path, "".join(f"{broken}\n" for broken in listed.values()))
    except OSError as error:
        print(f"{len(rows)} of {len(dataset)} {dataset.noun} could not be read; no list of them: {error}")
        return
    print(
        f"skipped {len(rows)} of {len(dataset)} {dataset.noun} that cannot be read; they are listed in {path}"
    )


def _online_probe(config: RunConfig, method: Method) -> Probe | None:
    wanted, modality = config.online_probe, config.modality
    if wanted.data is None or not first_process():
        return None
    if config.train.strategy == "fsdp":
        raise ConfigError(
            "online_probe.data needs the whole model in one process: leave it out with train.strategy=fsdp"
        )
    reading = replace(config.reading, limit=None)
    labelled = modality.open(wanted.data, reading, labels=True)
    score = OnlineProbe(modality.dataset(labelled, reading), wanted.samples)
    ends, gap = {1, config.model.optim.steps}, config.train.log_every

    def probe(method: Method, step: int) -> dict[str, float]:
        # Asked for logged steps only: the first of them after each multiple of `every`.
        return score(method) if step in ends or step % wanted.every < min(gap, wanted.every) else {}

    return probe


def _open(config: RunConfig) -> Source:
    return config.modality.open(config.data, config.reading)


def _weights(config: RunConfig) -> Loaded | None:
    """What ``config.init`` holds."""
    if config.init is None:
        return None
    if Path(config.init).resolve().is_relative_to(Path(config.out).resolve()):
        raise ConfigError(
            f"init={config.init} lies in the directory of the new run: name another directory for it"
        )
    return read(config.init)


def _build(config: RunConfig, weights: Loaded | None) -> Method:
    # For methods that draw their first weights from the global generator: all processes must draw the same.
    torch.manual_seed(derive_seed(config.train.seed, "init"))
    method = entry(config.method).method(config.model)
    if weights is not None:
        start(method, weights)
    return method


def _check(method: Method, shape: Shape, modality: Modality) -> None:
    if shape != method.input_shape():
        raise ConfigError(
            f"the data give samples of shape {described(shape)}, the model expects {described(method.input_shape())} "
            f"({modality.axes}): leave "
            "the sizes of the model out to take them from the data"
        )


def _loader(config: RunConfig, dataset: Dataset) -> LoaderFactory:
    train = config.train
    return lambda start_step, rank, world: build_loader(
        dataset,
        seed=train.seed,
        batch_size=train.batch_size,
        steps=config.model.optim.steps,
        start_step=start_step,
        rank=rank,
        world=world,
        accumulate=train.accumulate,
        workers=train.workers,
    )
