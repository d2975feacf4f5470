"""Arguments taken as typed: the same values as Typer's own, without its validation."""

from pathlib import Path

import pytest
import typer
from typer.main import get_command

from gradcli.cli.app import app
from gradcli.cli.arguments import take_as_typed

CASES = [
    ["train"],
    ["train", "--lr", "0.1", "-m", "cnn", "a=1", "b=2"],
    ["train", "--runs-dir", "here", "--data-dir", "there", "--json"],
    ["train", "--allow-import", "a", "--allow-import", "b", "--no-live"],
    ["train", "--show-config", "--name", "-x"],
    ["inspect-gradients", "latest", "--fail-on", "error", "--vary", "a=1,2"],
    ["compare-optimizers", "--jobs", "2", "--optimizers", "sgd,adam"],
]


def parsed(command, words):
    """The values with which a command would be called."""
    seen = {}
    inner = command.commands[words[0]]
    inner.callback = lambda **values: seen.update(values)
    command(words, standalone_mode=False)
    return seen


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_the_values_are_those_that_typer_finds(words, monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", "of the environment")
    typers = parsed(get_command(app), words)
    ours = parsed(take_as_typed(get_command(app)), words)
    # An option that may be repeated and is not given is () to Typer, before it becomes None.
    assert ours == {name: None if value == () else value for name, value in typers.items()}
    assert isinstance(ours["runs_dir"], Path)


def test_types_other_than_text_are_checked():
    own = typer.Typer()

    @own.command()
    def count(number: int, name: str, flag: bool = False) -> None: ...

    command = take_as_typed(get_command(own))
    for wrong in (["x", "name"], ["1"], []):
        with pytest.raises(Exception, match=r"number|integer|NAME|NUMBER|Missing") as error:
            command(wrong, standalone_mode=False)
        assert error.value.exit_code == 2
