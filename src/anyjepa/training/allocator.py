"""What becomes of freed memory: kept for the next training step, or given back while data stream by.

glibc hands every large block back to the system when it is freed and fetches a new one for the next activation. The system
must clear each fetched page before it can be used: writing a fresh block costs about five times what writing a kept one costs,
and a training step on a CPU goes through gigabytes of them (figures: benchmarks/README.md).
"""

from __future__ import annotations

import ctypes
import os
import platform

OPT_OUT = "ANYJEPA_ALLOCATOR"
"""Environment variable: ``default`` leaves the allocator as it is."""

# Numbers of the parameters in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4


def tune_allocator() -> bool:
    """Tell glibc to serve all blocks from its heap and not to give the heap back. Call it once, before training on a CPU.

    The process then stays as large as its largest step. Memory on accelerators and in processes started later is untouched.

    Returns:
        Whether anything was changed: False on other systems and C libraries, and where the user has configured glibc's malloc
        or set ``ANYJEPA_ALLOCATOR=default``.
    """
    return _set((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 * 2**20))


def return_large_blocks() -> bool:
    """Tell glibc to hand blocks of 128 KiB and more back to the system when they are freed. Call it before streaming data.

    That is glibc's rule at its start, but it soon keeps larger ones, and does not use again what is freed of aligned blocks such
    as torch's: a process that reads images batch by batch grew by 32 KB with every image, without end.

    Returns:
        Whether anything was changed, as in :func:`tune_allocator`, which is the stronger one where both are called.
    """
    return _set((_MMAP_THRESHOLD, 128 * 1024))


def _set(*settings: tuple[int, int]) -> bool:
    if os.environ.get(OPT_OUT) == "default" or platform.libc_ver()[0] != "glibc":
        return False
    if any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(name, value) == 1 for name, value in settings])
