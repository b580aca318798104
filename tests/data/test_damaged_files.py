"""Some of the cases of benchmarks/fuzz_readers.py: damaged files end in one clear error or are counted, never in a traceback."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections import Counter
from pathlib import Path

import pytest

CASES = Path(__file__).parents[2] / "benchmarks" / "broken_files.py"
SEED = 7


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory):
    if not CASES.is_file():
        pytest.skip("the benchmarks are not beside the tests")
    for package in ("datasets", "tifffile"):
        pytest.importorskip(package, reason=f"{package} belongs to the damaged files")
    spec = importlib.util.spec_from_file_location("broken_files", CASES)
    module = importlib.util.module_from_spec(spec)
    sys.modules["broken_files"] = module
    spec.loader.exec_module(module)
    return module.Bench(tmp_path_factory.mktemp("damaged"), SEED)


def test_whole_files_are_read(bench) -> None:
    for name, content in bench.whole.items():
        outcome = bench.read(name, content, labels=False)
        assert outcome.kind == "ok", f"{name}: {outcome.text}"


@pytest.mark.parametrize("part", range(13))
def test_damaged_files_end_well(bench, part: int) -> None:
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    count = len(bench.names)
    kinds: Counter[str] = Counter()
    for number in range(part * count, (part + 1) * count):
        outcome = bench.run(number)
        kinds[outcome.kind] += 1
        assert outcome.kind in ("ok", "skipped and counted", "clear error"), (
            bench.case(number)[:2],
            outcome.text,
        )
    assert sum(kinds.values()) == count and kinds["ok"] < count
