"""The allocator setting keeps memory, and keeps out of the way of a user's own settings."""

import os
import platform
import subprocess
import sys

import pytest

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")

FAULTS = """
import resource
import torch
from anyjepa.training.allocator import tune_allocator
changed = tune_allocator()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step = [torch.ones(12 * 2**20) for _ in range(3)]
    del step
before = faults()
for _ in range(20):
    step = [torch.ones(12 * 2**20) for _ in range(3)]
    del step
print(int(changed), faults() - before)
"""


def run(**environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "ANYJEPA_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=kept | environment, capture_output=True, text=True, check=True
    )
    changed, faults = done.stdout.split()
    return bool(int(changed)), int(faults)


@needs_glibc
def test_freed_blocks_are_used_again():
    changed, tuned = run()
    assert changed
    changed, default = run(ANYJEPA_ALLOCATOR="default")
    assert not changed
    assert default > 20 * 3  # blocks above 32 MB are always new: at least one fault for each
    assert tuned < default / 2  # the heap may still grow once or twice


@needs_glibc
@pytest.mark.parametrize(
    "environment", [{"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}]
)
def test_settings_of_the_user_win(environment):
    changed, _ = run(**environment)
    assert not changed
