"""Runs that the tests of this folder read and copy, never change."""

import pytest
from pages import train


@pytest.fixture(scope="session")
def ijepa_run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("report") / "ijepa")


@pytest.fixture(scope="session")
def lejepa_run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("report") / "lejepa", "lejepa")
