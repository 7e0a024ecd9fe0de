"""Fixtures of the conformance tests."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness  # noqa: E402  (the path has to be set first)


@pytest.fixture(scope="session", autouse=True)
def engine_under_test():
    """Fails at once, with one message, when the binary is missing."""
    done = harness.run("--version")
    assert done.returncode == 0, f"{harness.binary()} does not run: {done.stderr}"
