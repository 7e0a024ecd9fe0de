"""The tests of the Python package run on the built wheel, from outside the source tree.

`run.sh` runs them in several environments; a test whose framework an environment has not is for another one of them.
"""
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def models():
    return ROOT / "tests" / "models"


@pytest.fixture(scope="session", autouse=True)
def the_wheel_is_tested():
    import normfold

    assert ROOT not in pathlib.Path(normfold.__file__).resolve().parents, "the source tree is imported, not the wheel"
