"""The stream: every sample once per epoch, the same for any workers, processes, accumulation and start."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.contract import Batch
from anyjepa.data import ImageConfig, ImageDataset, StepSampler, build_loader, open_source, step_indices
from anyjepa.errors import ConfigError, DataError


@given(n=st.integers(1, 60), batch=st.integers(1, 90), seed=st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_every_epoch_visits_every_sample_once(n: int, batch: int, seed: int) -> None:
    epochs = 3
    steps = -(-epochs * n // batch)
    stream = np.concatenate([step_indices(seed, step, batch, n) for step in range(steps)])
    assert len(stream) == steps * batch
    for epoch in range(epochs):
        assert sorted(stream[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


def test_epochs_and_seeds_are_in_different_order() -> None:
    first, second, other = step_indices(0, 0, 50, 50), step_indices(0, 1, 50, 50), step_indices(1, 0, 50, 50)
    assert (first != second).any() and (first != other).any() and (first != np.arange(50)).any()


@given(
    n=st.integers(1, 80),
    share=st.integers(1, 4),
    world=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    start=st.integers(0, 50),
)
@settings(max_examples=80, deadline=None)
def test_processes_and_micro_batches_share_a_step_without_overlap(
    n: int, share: int, world: int, accumulate: int, start: int
) -> None:
    batch = share * world * accumulate
    common = {"seed": 3, "batch_size": batch, "start_step": start, "steps": start + 2}
    ranks = [
        list(StepSampler(n, **common, rank=rank, world=world, accumulate=accumulate)) for rank in range(world)
    ]
    assert all(len(requests) == 2 * accumulate for requests in ranks)
    for step in range(start, start + 2):
        slots = []
        for micro in range(accumulate):
            for requests in ranks:
                request = requests[(step - start) * accumulate + micro]
                assert (request.step, request.micro, len(request.indices)) == (step, micro, share)
                np.testing.assert_array_equal(request.peers, step_indices(3, step, batch, n))
                slots += request.indices.tolist()
        assert slots == step_indices(3, step, batch, n).tolist()


def test_length_and_end() -> None:
    sampler = StepSampler(10, seed=0, batch_size=4, steps=9, start_step=4, accumulate=2)
    assert len(sampler) == len(list(sampler)) == 10
    assert list(StepSampler(10, seed=0, batch_size=4, steps=3, start_step=5)) == []
    endless = StepSampler(10, seed=0, batch_size=4)
    with pytest.raises(TypeError):
        len(endless)
    assert len(list(itertools.islice(endless, 100))) == 100


@pytest.mark.parametrize(
    ("batch", "world", "accumulate", "text"),
    [(100, 8, 1, "96 or 104"), (3, 4, 2, "use 8"), (0, 1, 1, "use 1"), (10, 2, 2, "8 or 12")],
)
def test_batches_that_cannot_be_shared(batch: int, world: int, accumulate: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        StepSampler(10, seed=0, batch_size=batch, world=world, accumulate=accumulate)


@pytest.mark.parametrize("fields", [{"rank": 2, "world": 2}, {"accumulate": 0}, {"start_step": -1}])
def test_impossible_places_in_the_stream(fields: dict) -> None:
    with pytest.raises(ConfigError):
        StepSampler(10, seed=0, batch_size=4, **fields)


def collect(path: Path, **fields: object) -> list[Batch]:
    data = ImageDataset(open_source(path), ImageConfig(flip=True), size=24)
    return list(build_loader(data, seed=5, batch_size=8, **{"steps": 5, **fields}))


def inputs(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.inputs for batch in batches])


@pytest.fixture
def plain(mixed: Path) -> list[Batch]:
    """Five steps over an epoch's end (24 images, 8 a step), made here by one process."""
    return collect(mixed)


def test_batches_say_what_they_are(plain: list[Batch]) -> None:
    assert [batch.step for batch in plain] == [0, 1, 2, 3, 4]
    for batch in plain:
        assert (
            batch.inputs.shape == (8, 3, 24, 24) and batch.inputs.dtype == torch.float32 and batch.seed == 5
        )
        assert batch.index.dtype == torch.int64 and batch.peers is not None
        assert batch.index.tolist() == batch.peers.tolist() == step_indices(5, batch.step, 8, 24).tolist()


@pytest.mark.parametrize(("workers", "method"), [(2, None), (1, "spawn")])
def test_workers_change_nothing(mixed: Path, plain: list[Batch], workers: int, method: str | None) -> None:
    found = collect(mixed, workers=workers, start_method=method)
    assert torch.equal(inputs(found), inputs(plain))
    assert [batch.index.tolist() for batch in found] == [batch.index.tolist() for batch in plain]
    assert all(torch.equal(a.peers, b.peers) for a, b in zip(found, plain, strict=True))


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 2)])
def test_processes_and_accumulation_change_nothing(
    mixed: Path, plain: list[Batch], world: int, accumulate: int
) -> None:
    ranks = [collect(mixed, rank=rank, world=world, accumulate=accumulate) for rank in range(world)]
    woven = [batch for together in zip(*ranks, strict=True) for batch in together]
    assert torch.equal(inputs(woven), inputs(plain))
    per_step = world * accumulate
    assert [b.step for b in woven] == [s for s in range(5) for _ in range(per_step)]
    for i, batch in enumerate(woven):
        assert torch.equal(batch.peers, plain[i // per_step].peers)


def test_a_late_start_is_the_same_stream_and_free(mixed: Path, plain: list[Batch]) -> None:
    assert torch.equal(inputs(collect(mixed, start_step=3)), inputs(plain[3:]))
    began = time.perf_counter()
    (late,) = collect(mixed, start_step=10**9, steps=10**9 + 1)
    assert late.step == 10**9 and time.perf_counter() - began < 5


def test_loading_leaves_the_global_generator_alone(mixed: Path) -> None:
    before = torch.get_rng_state()
    collect(mixed, workers=1)
    collect(mixed)
    assert torch.equal(torch.get_rng_state(), before)


class ThreadCount:
    """Says in its samples how many threads torch uses where it is drawn."""

    def __len__(self) -> int:
        return 4

    def draw(self, step: int, indices: np.ndarray, seed: int) -> torch.Tensor:
        return torch.full((len(indices), 1), float(torch.get_num_threads()))


def test_workers_use_one_thread() -> None:
    (batch,) = build_loader(ThreadCount(), seed=0, batch_size=2, steps=1, workers=1, start_method="fork")
    assert batch.inputs.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_arrive_with_their_class_and_plain_text(folder: Path, workers: int) -> None:
    (folder / "dog" / "07.png").write_bytes(b"broken")
    data = ImageDataset(open_source(folder), ImageConfig(max_broken=0.0), size=8)
    with pytest.raises(DataError) as caught:
        list(build_loader(data, seed=0, batch_size=4, steps=3, workers=workers))
    assert not multiprocessing.active_children(), (
        "the workers end with the error, not with the garbage collector"
    )
    text = str(caught.value)
    assert text.startswith("1 of 12 images cannot be read") and "07.png" in text and "Traceback" not in text


def test_broken_images_are_counted_over_all_workers(folder: Path) -> None:
    for name in ("cat/01.png", "cat/04.png", "dog/08.png", "dog/10.png"):
        (folder / name).write_bytes(b"broken")
    data = ImageDataset(open_source(folder), ImageConfig(max_broken=0.5), size=8)
    batches = list(build_loader(data, seed=0, batch_size=4, steps=6, workers=2))
    assert data.broken == [1, 4, 8, 10], "found by the workers, known here"
    here = list(
        build_loader(ImageDataset(open_source(folder), data.config, 8), seed=0, batch_size=4, steps=6)
    )
    assert torch.equal(inputs(batches), inputs(here))
    strict = ImageDataset(open_source(folder), ImageConfig(max_broken=0.3), size=8)
    with pytest.raises(DataError, match="4 of 12"):
        list(build_loader(strict, seed=0, batch_size=2, steps=12, workers=2))
