"""Every command of the tour is run, and prints what the tour shows, numbers aside."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOUR = (ROOT / "docs" / "gradients.md").read_text()

_spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
readme = importlib.util.module_from_spec(_spec)
sys.modules["readme"] = readme
_spec.loader.exec_module(readme)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which all examples run, one after the other, as a reader would."""
    return tmp_path_factory.mktemp("tour")


@pytest.mark.parametrize("example", readme.examples(TOUR), ids=lambda example: example.commands[0])
def test_examples_print_what_the_tour_shows(example, folder):
    printed = readme.run_example(example, folder)
    assert readme.skeleton(printed, example) == readme.skeleton(example.text, example)
