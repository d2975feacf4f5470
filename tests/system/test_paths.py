"""`Paths.arguments`: what was given, as words that can be pasted, and nothing else."""

from pathlib import Path

import pytest

from gradcli.system.paths import Paths


@pytest.fixture(autouse=True)
def without_environment(monkeypatch):
    for name in ("GRADCLI_RUNS", "GRADCLI_DATA"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_need_no_words():
    assert Paths().arguments() == []


def test_everything_that_was_given_is_repeated():
    paths = Paths(Path("elsewhere"), Path("data"), Path("my configs"), ("lab", "more.lab"))
    rest = ["--data-dir", "data", "--config-dir", "my configs"]
    rest += ["--allow-import", "lab", "--allow-import", "more.lab"]
    assert paths.arguments() == ["--runs-dir", "elsewhere", *rest]
    assert paths.arguments(runs=False) == rest


def test_what_the_environment_says_is_not_repeated(monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", "elsewhere")
    monkeypatch.setenv("GRADCLI_DATA", "data")
    assert Paths(Path("elsewhere"), Path("data")).arguments() == []
    assert Paths(Path("here"), Path("there")).arguments() == [
        *("--runs-dir", "here"),
        *("--data-dir", "there"),
    ]
