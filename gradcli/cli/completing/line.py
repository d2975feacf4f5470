"""Where on a command line the cursor is: at which option or argument of which command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LineOption:
    """An option of a command; `name` is that of its parameter."""

    name: str
    words: tuple[str, ...]
    help: str
    takes_value: bool
    can_repeat: bool


@dataclass(frozen=True)
class Line:
    """What stands before the word at the cursor.

    `given` has the values of the options and arguments that were given, by the names of their
    parameters; a flag's is its word. `awaiting` is the option whose value the word is, and
    `argument` the name of the parameter that takes the word otherwise; empty if none does.
    """

    path: tuple[str, ...]
    commands: Mapping[str, str]
    options: tuple[LineOption, ...]
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    awaiting: LineOption | None = None
    argument: str = ""
    takes_options: bool = True

    def last(self, name: str) -> str | None:
        """Return the last value given for a parameter."""
        return (self.given.get(name) or (None,))[-1]


def read_line(command: Any, words: Sequence[str]) -> Line:
    """Follow the words before the cursor, and return where that leads.

    Args:
        command: what `typer.main.get_command` returns.
        words: without the program's name, and without the word at the cursor.
    """
    path: list[str] = []
    left = list(words)
    while left and getattr(command, "commands", None):
        word = left.pop(0)
        if word in command.commands:
            command = command.commands[word]
            path.append(word)
        elif not word.startswith("-"):
            return Line((*path, word), {}, (), takes_options=False)  # there is no such command
    options = _options(command)
    by_word = {word: option for option in options for word in option.words}
    given: dict[str, list[str]] = {}
    positional: list[str] = []
    awaiting: LineOption | None = None
    takes_options = True
    for word in left:
        if awaiting is not None:
            given.setdefault(awaiting.name, []).append(word)
            awaiting = None
        elif takes_options and word == "--":
            takes_options = False
        elif takes_options and word.startswith("-") and len(word) > 1:
            option, value = _option_in(word, by_word)
            if option is None:
                continue
            if option.takes_value and value is None:
                awaiting = option
            else:
                given.setdefault(option.name, []).append(word if value is None else value)
        else:
            positional.append(word)
    argument = _argument(command, positional, given)
    return Line(
        path=tuple(path),
        commands={
            name: _sentence(one.help)
            for name, one in getattr(command, "commands", {}).items()
            if not one.hidden
        },
        options=options,
        given={name: tuple(values) for name, values in given.items()},
        awaiting=awaiting,
        argument=argument,
        takes_options=takes_options,
    )


def _option_in(
    word: str, by_word: Mapping[str, LineOption]
) -> tuple[LineOption | None, str | None]:
    """Return the option that a word names, and the value that is written to it."""
    name, equals, value = word.partition("=")
    if name in by_word:
        return by_word[name], value if equals else None
    if not word.startswith("--") and word[:2] in by_word:
        return by_word[word[:2]], word[2:]
    return None, None


def _argument(command: Any, positional: Sequence[str], given: dict[str, list[str]]) -> str:
    """Note which arguments the words are, and return the name of that which takes the next one."""
    left = list(positional)
    for one in command.params:
        if one.param_type_name != "argument":
            continue
        taken = left if one.nargs == -1 else left[: one.nargs]
        given.setdefault(one.name, []).extend(taken)
        if one.nargs == -1 or len(taken) < one.nargs:
            return str(one.name)
        left = left[one.nargs :]
    return ""


def _options(command: Any) -> tuple[LineOption, ...]:
    found = [
        LineOption(
            name=one.name,
            words=(*one.opts, *one.secondary_opts),
            help=_sentence(one.help),
            takes_value=not (one.is_flag or one.count),
            can_repeat=one.multiple,
        )
        for one in command.params
        if one.param_type_name == "option" and not one.hidden
    ]
    return (*found, LineOption("help", ("-h", "--help"), "Show the help", False, False))


def _sentence(text: str | None) -> str:
    """Return the first line of a help text, without its full stop."""
    return (text or "").strip().split("\n\n")[0].replace("\n", " ").removesuffix(".")
