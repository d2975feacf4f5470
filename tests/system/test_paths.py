"""The options that name places: what was given, and nothing that goes without saying."""

from pathlib import Path

import pytest

from gradcli.system.paths import Paths

GIVEN = Paths(Path("mine"), Path("data"), Path("configs"), ("one", "two"))
BUILT = ["--data-dir", "data", "--config-dir", "configs"]
ALLOWED = ["--allow-import", "one", "--allow-import", "two"]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("GRADCLI_RUNS", "GRADCLI_DATA"):
        monkeypatch.delenv(name, raising=False)


def test_all_that_was_given_is_named():
    assert GIVEN.arguments() == ["--runs-dir", "mine", *BUILT, *ALLOWED]
    assert GIVEN.arguments(runs=False) == [*BUILT, *ALLOWED]


def test_defaults_are_not_named():
    assert Paths().arguments() == []


def test_what_the_environment_says_is_not_named(monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", "mine")
    monkeypatch.setenv("GRADCLI_DATA", "data")
    assert GIVEN.arguments() == ["--config-dir", "configs", *ALLOWED]
    assert Paths().arguments() == ["--runs-dir", "runs"]
