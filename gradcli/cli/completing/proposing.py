"""What may stand at the cursor, as a function of the words on the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from gradcli.cli.completing import key_words, run_words
from gradcli.cli.completing.answer import (
    FILES,
    FOLDERS,
    NOTHING,
    Answer,
    Proposal,
    fitting,
    listed,
    words,
)
from gradcli.cli.completing.line import Line, LineOption, read_line
from gradcli.cli.inspect import Severity
from gradcli.config.index import key_index
from gradcli.shorthands import SHORTHANDS

#: What may stand at the cursor: from what is typed of the word, and the line before it.
Source = Callable[[str, Line], Answer]


def propose(command: Any, before: Sequence[str], typed: str) -> Answer:
    """Return what may stand at the cursor.

    Args:
        command: what `typer.main.get_command` returns.
        before: the words before the cursor, without the program's name.
        typed: what is typed of the word at the cursor.
    """
    line = read_line(command, before)
    if line.awaiting is not None:
        return _value(line.awaiting, typed, line)
    if line.takes_options and typed.startswith("-"):
        name, equals, value = typed.partition("=")
        if not equals:
            return _option_names(typed, line)
        named = [one for one in line.options if name in one.words and one.takes_value]
        return _value(named[0], value, line).behind(f"{name}=") if named else NOTHING
    if line.commands:
        return words(typed, line.commands)
    answer = _SOURCES[line.argument](typed, line) if line.argument in _SOURCES else NOTHING
    if answer == NOTHING and not typed and line.takes_options:
        return _option_names("", line)
    return answer


def _option_names(typed: str, line: Line) -> Answer:
    """Return the options, by their long names, that can still be given."""
    left = [one for one in line.options if one.can_repeat or one.name not in line.given]
    return fitting(typed, (Proposal(max(one.words, key=len), one.help) for one in left))


def _value(option: LineOption, typed: str, line: Line) -> Answer:
    source = _SOURCES.get(option.name)
    return NOTHING if source is None else source(typed, line)


def _key(key: str, typed: str, line: Line) -> Answer:
    """Return what a key of the config may be."""
    return key_words.value_of(key, typed, key_words.settings_on(line))


def _optimizers(typed: str, line: Line) -> Answer:
    return listed(typed, key_words.items_of("optimizers", line))


def _searched(typed: str, line: Line) -> Answer:
    return listed(typed, key_words.items_of("search_keys", line))


def _probes(typed: str, line: Line) -> Answer:
    return listed(typed, key_words.items_of("probes", line))


def _formats(typed: str, line: Line) -> Answer:
    from gradcli.runs.export import FORMATS

    return words(typed, FORMATS.keys())


def _target_and_overrides(typed: str, line: Line) -> Answer:
    """Return what `inspect-gradients` takes: one target, and overrides."""
    has_target = any("=" not in word for word in line.given.get(line.argument, ()))
    keys = key_words.override(typed, line)
    if has_target or "=" in typed:
        return keys
    targets = run_words.runs(typed, line)
    return Answer((*targets.proposals, *keys.proposals), targets.paths)


def _groups(typed: str, line: Line) -> Answer:
    return words(typed, list(key_index().groups))


def _files(typed: str, line: Line) -> Answer:
    return FILES


def _folders(typed: str, line: Line) -> Answer:
    return FOLDERS


def _one_of(*choices: str) -> Source:
    return lambda typed, line: words(typed, choices)


#: By the name of the parameter of an option or an argument, which means the same in all commands.
_SOURCES: Final[Mapping[str, Source]] = {
    **{name: partial(_key, key) for name, key in SHORTHANDS.items()},
    "protocol": partial(_key, "protocol"),
    "engine": partial(_key, "engine"),
    "jobs": partial(_key, "engine.jobs"),
    "seeds": partial(_key, "protocol.seeds"),
    "lrs": _one_of("auto"),
    "fail_on": _one_of(*Severity),
    "optimizers": _optimizers,
    "search": _searched,
    "vary": key_words.varied,
    "probe": _probes,
    "overrides": key_words.override,
    "arguments": _target_and_overrides,
    "group": _groups,
    "run": run_words.runs,
    "runs": run_words.runs,
    "a": run_words.only_runs,
    "b": run_words.only_runs,
    "sets": run_words.arms_and_runs,
    "resume": run_words.resumable,
    "where": run_words.condition,
    "sort": run_words.sort_key,
    "show": run_words.key_list,
    "by": _one_of("test", "val", "train_loss", "seconds_train"),
    "pairing": _one_of("auto", "seed", "none"),
    "what": _one_of("steps", "trials"),
    "format_": _formats,
    "runs_dir": _folders,
    "data_dir": _folders,
    "config_dir": _folders,
    "allow_import": _files,
    "output": _files,
    "plot": _files,
    "shell": _one_of("bash", "zsh", "fish"),
}
