"""What a shell hands over when Tab is pressed, and what it wants back.

The scripts in `scripts/` call the program with `_GRADCLI_COMPLETION` set to the name of the shell.
The first line of an answer says how to take the rest: `none`, or whose paths the shell is to
propose itself. Nothing is caught here: the scripts discard what goes to stderr.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradcli.cli.completing import SHELL
from gradcli.cli.completing.proposing import propose
from gradcli.notation.visible import visible

_TAB: Final = "\t"
#: What bash calls the listing of all proposals (its `COMP_TYPE`), which shows and inserts nothing.
_LISTING: Final = "63"
#: What no shell needs a backslash for. Brackets are patterns, but bash leaves those that fit no
#: file alone.
_UNQUOTED: Final = re.compile(r"([^\w@%+=:,./\[\]-])")
#: The key of an override, or an option, with its `=`.
_KEY: Final = re.compile(r"[\w.+~/-]+=")


def answer_shell(command: Any) -> None:
    """Write the answer to the shell that asks.

    Args:
        command: what `typer.main.get_command` returns.
    """
    lines = _SHELLS[os.environ[SHELL]](command, sys.argv[1:])
    text = "".join(f"{visible(line, kept=_TAB)}\n" for line in lines)
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


# Words as shells write them ------------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    """A word of a line: as it is written, what the program gets, and the quote open at its end."""

    raw: str
    text: str
    quote: str = ""


def split(line: str) -> list[Word]:
    """Split a line as a shell does; the last word is the one at its end, perhaps an empty one.

    Variables and the like stay as they are written.
    """
    words, raw, text, quote = [], "", "", ""
    characters = iter(line)
    for one in characters:
        if not quote and one.isspace():
            if raw:
                words.append(Word(raw, text))
            raw = text = ""
            continue
        raw += one
        if one == "\\" and quote != "'":
            following = next(characters, "")
            raw += following
            text += following if not quote or following in '"$`\\' else f"\\{following}"
        elif one == quote:
            quote = ""
        elif one in "'\"" and not quote:
            quote = one
        else:
            text += one
    return [*words, Word(raw, text, quote)]


def quoted(text: str, quote: str) -> str:
    """Write text so that it goes on within an open quote, or outside of quotes if that is empty."""
    if quote == "'":
        return text.replace("'", "'\\''")
    if quote == '"':
        return re.sub(r'(["$`\\])', r"\\\1", text)
    return _UNQUOTED.sub(r"\\\1", text)


# The shells ----------------------------------------------------------------------------------


def for_bash(command: Any, handed: Sequence[str]) -> Iterator[str]:
    """Answer bash, which replaces the end of a word: what follows the last `=` or `:` in it.

    Args:
        command: what `typer.main.get_command` returns.
        handed: the line up to the cursor, the end that is replaced, why bash asks (`COMP_TYPE`),
            and the width of the terminal in columns.
    """
    line, replaced, why, columns = handed
    *before, at_cursor = split(line)
    found = propose(command, [one.text for one in before[1:]], at_cursor.text)
    if replaced and at_cursor.raw.endswith(replaced):
        stays = split(at_cursor.raw.removesuffix(replaced))[-1]
    else:
        stays = at_cursor if not replaced else Word("", "", at_cursor.quote)
    replies = [
        (quoted(one.word.removeprefix(stays.text), stays.quote), one.help)
        for one in found.proposals
        if one.word.startswith(stays.text)
    ]
    yield f"{found.paths} {'nospace' if any(one.goes_on for one in found.proposals) else 'space'}"
    if why == _LISTING and len(replies) > 1:
        yield from _in_columns(replies, int(columns))
    else:
        yield from (reply for reply, _ in replies)


def _in_columns(replies: Sequence[tuple[str, str]], columns: int) -> Iterator[str]:
    """Yield lines with a word and what it means, for bash to show."""
    width = max(len(reply) for reply, _ in replies)
    for reply, said in replies:
        line = f"{reply:{width}}  {said}" if said else reply
        yield line if len(line) < columns else f"{line[: columns - 4]}..."


def for_zsh(command: Any, handed: Sequence[str]) -> Iterator[str]:
    """Answer zsh, which quotes what it inserts, and takes `WORD:MEANING`.

    Args:
        command: what `typer.main.get_command` returns.
        handed: the words up to the cursor, the program's name included, without quotes.
    """
    *before, typed = handed[1:]
    found = propose(command, before, typed)
    key = _KEY.match(typed)
    head = key[0] if key else ""
    yield f"{found.paths} {'behind-key' if head else 'whole'}"
    for one in found.proposals:
        if one.word.startswith(head):
            word = re.sub(r"([\\:])", r"\\\1", one.word.removeprefix(head))
            yield f"{'=' if one.goes_on else '.'}{word}{':' * bool(one.help)}{one.help}"


def for_fish(command: Any, handed: Sequence[str]) -> Iterator[str]:
    """Answer fish, which quotes what it inserts, and takes the meaning behind a tab.

    If it is to propose paths, it gets the key before the path, and what is typed of the path.

    Args:
        command: what `typer.main.get_command` returns.
        handed: the words before the cursor, the program's name included, without quotes; and the
            word at the cursor as it is written.
    """
    *before, raw = handed[1:]
    typed = split(raw)[-1].text
    found = propose(command, before, typed)
    yield found.paths
    if found.paths != "none":
        key = _KEY.match(typed)
        yield from (key[0] if key else "", typed[key.end() if key else 0 :])
    yield from (f"{one.word}{_TAB}{one.help}" for one in found.proposals)


_SHELLS: Final[Mapping[str, Callable[[Any, Sequence[str]], Iterator[str]]]] = {
    "bash": for_bash,
    "zsh": for_zsh,
    "fish": for_fish,
}
