"""The options that give a command's folders again."""

from pathlib import Path

import pytest

from gradcli.system.paths import Paths

GIVEN = Paths(Path("my runs"), Path("data"), Path("configs"), ("mine", "hers"))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("GRADCLI_RUNS", raising=False)
    monkeypatch.delenv("GRADCLI_DATA", raising=False)


def test_only_what_was_given_is_given_again():
    assert Paths().arguments() == []
    assert GIVEN.arguments() == [
        *("--runs-dir", "my runs", "--data-dir", "data", "--config-dir", "configs"),
        *("--allow-import", "mine", "--allow-import", "hers"),
    ]
    assert GIVEN.arguments(runs=False) == GIVEN.arguments()[2:]


def test_what_the_environment_says_is_left_to_it(monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", "my runs")
    monkeypatch.setenv("GRADCLI_DATA", "data")
    assert GIVEN.arguments() == GIVEN.arguments(runs=False)
    assert GIVEN.arguments()[0] == "--config-dir"
