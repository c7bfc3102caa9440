"""Shared by all tests: where the real photos are, and small fixed seeds."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

# Test processes that run side by side, and what they start, share the cores.
if beside := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // beside)))

# Benchmarks are scripts that import each other by their bare names.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos; the test is skipped, with the reason, where it is not there."""
    folder = os.environ.get("MAQUETTE_TEST_DATA")
    if folder is None:
        pytest.skip("set MAQUETTE_TEST_DATA to a folder of real photos")
    return Path(folder)
