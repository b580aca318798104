"""kill -9 at every kind of moment; the same command again ends with the same bytes as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from little_runs import make_run

from anyjepa.embedding import embed, write

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["anyjepa.embedding", "anyjepa.methods.ijepa"])
OPTIONS = {"labels": True, "limit": 300, "batch_size": 50}


def embed_and_pause(run: Path, out: Path, name: str, left: int) -> None:
    """Embed with a part for every batch; stop for good before the n-th call of a function of ``os``."""
    torch.set_num_threads(1)
    write.PART_SECONDS = 0.0
    original = getattr(os, name)

    def pausing(*arguments, **keywords):
        nonlocal left
        left -= 1
        if left == 0:
            out.with_name("paused").touch()
            time.sleep(1000)
        return original(*arguments, **keywords)

    setattr(os, name, pausing)
    embed(run, "digits", out, **OPTIONS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run, and the bytes of all files of an embedding that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run = make_run(folder / "run")
    found = {}
    for ending in (".parquet", ".npy"):
        embed(run, "digits", folder / f"e{ending}", **OPTIONS)
        found[ending] = files(folder)
        for file in folder.glob("e.*"):
            file.unlink()
    return run, found


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.startswith("e.")}


# Six parts: os.replace is called for the plan, the parts, the files; os.unlink by what tidies up.
MOMENTS = [
    ("replace", 1), ("fsync", 2), ("replace", 3), ("fsync", 7), ("replace", 8), ("replace", 9), ("unlink", 4)
]  # fmt: skip


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
@pytest.mark.parametrize("name, count", MOMENTS)
def test_killed_at_any_moment_it_ends_with_the_same_bytes(whole, tmp_path, ending, name, count):
    run, expected = whole
    if (ending, name, count) == (".parquet", "replace", 9):
        pytest.skip("a Parquet file is one file: there is no ninth rename")
    out = tmp_path / f"e{ending}"
    process = SERVER.Process(target=embed_and_pause, args=(run, out, name, count))
    process.start()
    end = time.monotonic() + 120
    while not (tmp_path / "paused").exists():
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    parts = len(list(tmp_path.rglob("*.arrow")))
    done = []
    embed(run, "digits", out, **OPTIONS, progress=lambda at, total: done.append(at))
    if done:
        assert done[0] == min(300, 50 * parts), "finished parts are not made again"
    assert files(tmp_path) == expected[ending]


def test_a_torn_part_and_all_after_it_are_made_again(whole, tmp_path, monkeypatch):
    run, expected = whole
    out = tmp_path / "e.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(write, "PART_SECONDS", 0.0)
        patched.setattr(write, "join", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed(run, "digits", out, **OPTIONS)
    parts = sorted(tmp_path.rglob("*.arrow"))
    assert len(parts) == 6
    parts[2].write_bytes(parts[2].read_bytes()[:100])
    parts[4].write_bytes(b"")
    seen = []
    embed(run, "digits", out, **OPTIONS, progress=lambda at, total: seen.append(at))
    assert seen[0] == 100
    assert files(tmp_path) == expected[".parquet"]
