r"""Text of others, made safe to show: files, names of classes and exceptions may hold anything.

A terminal obeys control characters. A layer named `\x1b]0;...` could set the title of the window,
erase what stands above, or answer in the user's place. Everything that is shown passes through
`visible`, which writes such characters as Python does in a string: `\x1b`.
"""

from __future__ import annotations

import unicodedata

#: Control characters, formats such as a change of direction, halves of surrogate pairs (bytes in a
#: file's name that are not text), and separators of lines and paragraphs.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
#: Formats that only join letters or emoji.
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
#: What gives a text of several lines its shape.
LAYOUT = "\n\t"


def visible(text: str, kept: str = "") -> str:
    r"""Return `text` with every character that a terminal would obey as an escape: `\x1b`.

    Args:
        text: from anywhere.
        kept: control characters that stay as they are, such as `LAYOUT`.
    """
    # Nearly always, and much faster than a look at each character.
    if text.isprintable() or text.translate(str.maketrans("", "", kept)).isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNSEEN and character not in kept + _JOINERS
        else character
        for character in text
    )


def in_json(document: str) -> str:
    """Return a JSON document with DEL escaped, the one control character that `json` leaves."""
    return document.replace("\x7f", "\\u007f")
