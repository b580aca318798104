"""Set-up of all tests: shapes in signatures are checked at run time, nothing is fetched, every test starts from one seed."""

import os
import random
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # One core per worker. Set before torch is imported and inherited by the processes that tests start.
    os.environ["OMP_NUM_THREADS"] = "1"

import jaxtyping
import numpy as np
import pytest
import torch

# Must come before anything imports anyjepa: modules that are already there would stay unchecked.
jaxtyping.install_import_hook("anyjepa", "shapecheck.check")

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    """One thread per worker; a single process keeps torch's own choice."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """The library draws nothing from global generators; tests do."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Directory of the real data sets: $ANYJEPA_DATA, else ../shared/data beside the repository. It may be absent."""
    return Path(os.environ.get("ANYJEPA_DATA") or ROOT / "../shared/data").resolve()


@pytest.fixture(scope="session")
def require_data(data_root: Path) -> Callable[[str], Path]:
    """``require_data("image-cifar10")`` is the directory of that data set; where it is absent the test is skipped."""

    def find(name: str) -> Path:
        folder = data_root / name
        if not folder.is_dir():
            pytest.skip(
                f"data set {name} is not in {data_root}: set ANYJEPA_DATA to the directory that holds it"
            )
        return folder

    return find
