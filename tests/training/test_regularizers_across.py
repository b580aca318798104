"""Regularizers in two processes equal those of one with all samples: value and gradient, from uneven shares."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_distributed import in_two_processes
from torch.nn.parallel import DistributedDataParallel

from anyjepa.objectives.regularizers import RegularizerConfig, regularize

SHARES = (slice(0, 5), slice(5, 8))
SETTINGS = [
    RegularizerConfig(kind=kind, level=level)
    for kind in ("variance", "vicreg", "sigreg", "visreg", "koleo")
    for level in ("pooled", "both")
]


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    """Eight samples of up to six tokens, and which are valid."""
    generator = torch.Generator().manual_seed(0)
    valid = torch.arange(6) < torch.randint(2, 7, (8, 1), generator=generator)
    return torch.randn(8, 6, 4, generator=generator), valid


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 3))


def value_and_gradients(
    module: torch.nn.Module, config: RegularizerConfig, share: slice
) -> list[torch.Tensor]:
    x, valid = samples()
    value = regularize(config, module(x[share]), valid[share], seed=3, step=4)
    module.zero_grad()
    value.backward()
    return [value.detach(), *(p.grad.clone() for p in module.parameters())]


def of_this_process(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo")
    torch.save(in_company(rank), folder / f"{rank}.pt")
    dist.barrier()  # as the group may only end when no work is left, so DDP may not outlive it: it is gone by now
    dist.destroy_process_group()


def in_company(rank: int) -> tuple[list, list]:
    wrapped = DistributedDataParallel(network())
    found = [value_and_gradients(wrapped, config, SHARES[rank]) for config in SETTINGS]
    # One sample on all processes is no distribution; the other process has none.
    few = [value_and_gradients(network(), config, slice(rank, 1)) for config in SETTINGS]
    return found, few


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("across")
    in_two_processes(of_this_process, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=[f"{c.kind}-{c.level}" for c in SETTINGS])
def test_two_processes_equal_one(of_two, number):
    expected = value_and_gradients(network(), SETTINGS[number], slice(None))
    share = value_and_gradients(network(), SETTINGS[number], SHARES[0])
    assert not torch.allclose(share[0], expected[0], rtol=1e-3), "the shares are too alike to tell"
    for found, _ in of_two:
        for mine, other in zip(found[number], expected, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("number", range(0, len(SETTINGS), 2), ids=[c.kind for c in SETTINGS[::2]])
def test_one_sample_over_all_processes(of_two, number):
    for _, few in of_two:
        assert not any(tensor.any() for tensor in few[number])
