"""Fixtures of the PyTorch conformance tests. What is judged is told by `tests/conformance/harness.py`, as everywhere."""
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import harness  # noqa: E402  (the path has to be set first)


@pytest.fixture(scope="session", autouse=True)
def engine_under_test():
    """Fails at once, with one message, when the binary is missing."""
    done = harness.run("--version")
    assert done.returncode == 0, f"{harness.binary()} does not run: {done.stderr}"
