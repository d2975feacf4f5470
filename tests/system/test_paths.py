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


def test_a_problem_among_the_words_is_permission_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own, other = tmp_path / "own.py", tmp_path / "other.py"
    paths = Paths(allow_import=[str(own), "package", str(other)])
    everything = ["--allow-import", str(own), "--allow-import", "package"]
    everything += ["--allow-import", str(other)]
    assert paths.arguments() == everything
    for word in ("problem=own.py:mine", "problem=own.py", f"problem={own}:mine"):
        assert paths.arguments(beside=["seed=1", word]) == everything[2:]
    assert paths.arguments(beside=["problem=elsewhere/own.py:mine"]) == everything


def test_a_file_is_allowed_once_however_it_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path / "mine.py")
    recorded = Paths(allow_import=[whole, "package", str(tmp_path / "other.py")])
    paths = Paths(allow_import=["mine.py"]).completed_by(recorded).trusting(["./mine.py", whole])
    assert paths.allow_import == ("mine.py", "package", str(tmp_path / "other.py"))
