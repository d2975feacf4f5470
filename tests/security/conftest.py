"""Runs from a stranger."""

import shutil
from pathlib import Path

import pytest

SCHEMA_1 = Path(__file__).parents[1] / "fixtures" / "schema-1"


@pytest.fixture
def stored(runs_dir):
    """The runs of the fixtures, which the commands of the test use."""
    shutil.copytree(SCHEMA_1, runs_dir)
    return runs_dir


@pytest.fixture
def finished(stored):
    """The directory of a finished run."""
    return next(stored.glob("*-finished-*"))
