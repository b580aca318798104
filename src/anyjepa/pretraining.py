"""From a config to a trained encoder, and on from wherever a run was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed

from anyjepa.config import to_dict
from anyjepa.contract import Method
from anyjepa.data import DataReport, ImageConfig, ImageDataset, Source, build_loader, inspect, open_source
from anyjepa.data.broken import Broken, explain
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

READS = "images"
"""The kind of data that the readers here are for."""


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
    run = Path(config.out)
    kind = entry(config.method).modality
    if kind != READS:
        raise ConfigError(
            f"{config.method} is for {kind}, and pretrain reads {READS} so far: train it in a loop of your own, as its page "
            "in docs/methods shows"
        )
    # Before an old run in the directory is deleted: what cannot be loaded is known by then.
    weights = _weights(config)
    if first_process():
        prepare(run, overwrite)
    source = source or _open(config)
    report = inspect(source)
    _refuse_broken(report, config)
    size = ImageConfig.sides(config.images.size or report.default_size)
    model = config.model
    if config.images.size and getattr(model, "image_size", size) is None:
        model = replace(model, image_size=size)
    if weights is not None:
        model = adopt(model, config.method, weights)
        config = replace(config, images=_as_trained(config.images, source, weights))
    if hasattr(model, "normalised"):
        model = model.normalised(config.images.mean, config.images.std)
    if hasattr(model, "fit"):
        model = model.fit((source.channels, *size))
    method = _build(replace(config, model=model), weights)
    shape = method.input_shape()
    if config.images.size and shape[1:] != size:
        raise ConfigError(f"images.size={size}, but the model expects {shape[1:]}: leave one of the two out")
    images = replace(config.images, size=(shape[1], shape[2]), channels=source.channels)
    config = replace(config, model=method.config, images=images)
    dataset = ImageDataset(source, images)
    _check(method, dataset)
    probe = _online_probe(config, dataset.size)
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
    method, dataset = _build(config, weights), ImageDataset(source, config.images)
    _check(method, dataset)
    return _train(config, run, method, dataset, _online_probe(config, dataset.size))


def _train(
    config: RunConfig, run: Path, method: Method, dataset: ImageDataset, probe: Probe | None
) -> TrainResult:
    try:
        return train(
            method,
            _loader(config, dataset),
            config.train,
            run,
            content=to_dict(config),
            resume=True,
            probe=probe,
        )
    finally:
        # Also after an error: too many broken images may be what ended the training.
        _list_broken(dataset, run)


def _refuse_broken(report: DataReport, config: RunConfig) -> None:
    most = config.images.max_broken
    if len(report.broken) > most * report.looked_at:
        raise DataError(
            f"{len(report.broken)} of the {report.looked_at} images looked at cannot be read, more than"
            f" images.max_broken={most:.0%}; the first: {report.broken[0].reason}. To list them all: anyjepa inspect"
            f" {config.data} --all --broken-list broken.txt"
        )


def _list_broken(dataset: ImageDataset, run: Path) -> None:
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
        print(f"{len(rows)} of {len(dataset)} images could not be read; no list of them: {error}")
        return
    print(f"skipped {len(rows)} of {len(dataset)} images that cannot be read; they are listed in {path}")


def _online_probe(config: RunConfig, size: tuple[int, int]) -> Probe | None:
    wanted = config.online_probe
    if wanted.data is None or not first_process():
        return None
    if config.train.strategy == "fsdp":
        raise ConfigError(
            "online_probe.data needs the whole model in one process: leave it out with train.strategy=fsdp"
        )
    images = replace(config.images, limit=None)
    score = OnlineProbe(ImageDataset.open(wanted.data, images, size, labels=True), wanted.samples)
    ends, gap = {1, config.model.optim.steps}, config.train.log_every

    def probe(method: Method, step: int) -> dict[str, float]:
        # Asked for logged steps only: the first of them after each multiple of `every`.
        return score(method) if step in ends or step % wanted.every < min(gap, wanted.every) else {}

    return probe


def _open(config: RunConfig) -> Source:
    images = config.images
    return open_source(
        config.data,
        channels=images.channels,
        image_column=images.image_column,
        label_column=images.label_column,
        limit=images.limit,
        max_pixels=images.max_pixels,
    )


def _weights(config: RunConfig) -> Loaded | None:
    """What ``config.init`` holds."""
    if config.init is None:
        return None
    if Path(config.init).resolve().is_relative_to(Path(config.out).resolve()):
        raise ConfigError(
            f"init={config.init} lies in the directory of the new run: name another directory for it"
        )
    return read(config.init)


def _as_trained(images: ImageConfig, source: Source, weights: Loaded) -> ImageConfig:
    """The images normalised as the weights are used to, unless something else was chosen."""
    channels = weights.method.input_shape()[0]
    if channels != source.channels:
        raise ConfigError(
            f"the weights take {channels} channels, the data have {source.channels}: set images.channels={channels}"
        )
    if images.mean is not None or images.std is not None:
        return images
    mean, std = weights.pixels
    return replace(images, mean=mean, std=std)


def _build(config: RunConfig, weights: Loaded | None) -> Method:
    # For methods that draw their first weights from the global generator: all processes must draw the same.
    torch.manual_seed(derive_seed(config.train.seed, "init"))
    method = entry(config.method).method(config.model)
    if weights is not None:
        start(method, weights)
    return method


def _check(method: Method, dataset: ImageDataset) -> None:
    if dataset.shape != method.input_shape():
        raise ConfigError(
            f"the data give samples of shape {dataset.shape}, the model expects {method.input_shape()} (channels, height, "
            f"width): leave model.channels and model.image_size out to take them from the data"
        )


def _loader(config: RunConfig, dataset: ImageDataset) -> LoaderFactory:
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
