"""Fixtures of the tests. The tests run on the installed wheel: the path has only this folder of the source tree."""

import os
import pathlib

import pytest
import resolvent

MARY = "When Mary and John went to the store, John gave a drink to"
JOHN = "When Mary and John went to the store, Mary gave a drink to"

# The repository, whose pages some tests read.
ROOT = pathlib.Path(os.environ.get("RESOLVENT_ROOT", pathlib.Path(__file__).parents[3]))


@pytest.fixture(scope="session")
def model():
    """The embedded model."""
    return resolvent.Model.from_pretrained("atlas-small", device="host")


@pytest.fixture(scope="session")
def tiny():
    """A random model: 3 blocks, d = 32, vocabulary 50, no tokenizer."""
    return resolvent.Model.from_pretrained("random", device="host")


@pytest.fixture(scope="session")
def run(tiny):
    return tiny.run([3, 1, 4, 1, 5])
