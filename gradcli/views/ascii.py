"""What a stream gets in place of the symbols that it cannot encode.

The screens are written with Unicode symbols. On a stream whose encoding lacks one (ASCII, cp1252,
cp437), the stand-in below is written instead, and a character without a stand-in as its escape:
writing to a terminal never raises `UnicodeEncodeError`. A symbol that tables and bars use has a
stand-in of one column, so that what is aligned stays aligned.

This is an error handler of the codecs, so that it holds for everything written to the stream.
Nothing here imports rich: `--help` and `--version` use it, too.
"""

# ruff: noqa: RUF001 (the symbols themselves are what this is about)

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Mapping
from io import TextIOWrapper

#: Of one column each: symbols of tables, bars, strips and boxes.
_ONE_COLUMN = {
    # levels of a sparkline, the lowest first, and the blocks of bars and heat maps
    **dict(zip("▁▂▃▄▅▆▇█", ",:;=+*%#", strict=True)),
    **dict(zip("▓▒░▚", "=-:x", strict=True)),
    # progress bars and boxes
    **dict.fromkeys("─━╌╍╴╶╸╺", "-"),
    **dict.fromkeys("│┃╎╏╷╵", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇┳┻╋┠┨┯┷╞╡╪", "+"),
    **dict.fromkeys("═", "="),
    **dict.fromkeys("║", "|"),
    # marks
    **dict(zip("×·★●○◉•", "x.*xo@*", strict=True)),
    **dict(zip("↓↑≤≥µμ", "v^<>uu", strict=True)),
    **dict.fromkeys("–—−‐‑", "-"),
    **dict.fromkeys("‘’‚′", "'"),
    **dict.fromkeys("“”„″", '"'),
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
}
#: Of several columns: symbols of sentences, which nothing is aligned with.
_OF_SENTENCES = {
    **{"±": "+/-", "→": "->", "←": "<-", "⇒": "=>", "≈": "~", "∞": "inf", "√": "sqrt", "°": " deg"},
    **dict(zip("²³ⁿ", ("^2", "^3", "^n"), strict=True)),
}
STAND_INS = _ONE_COLUMN | _OF_SENTENCES

_HANDLER = "gradcli.ascii"
_SHORTENED, _ELLIPSIS = "~", "..."


def stand_in(text: str, index: int) -> str:
    """Return what is written for the character of `text` at `index`.

    An ellipsis that touches a word marks a shortened cell and takes one column; one that stands
    alone is written as three points.
    """
    symbol = text[index]
    if symbol != "…":
        return STAND_INS.get(symbol) or symbol.encode("ascii", "backslashreplace").decode()
    around = text[max(index - 1, 0) : index] + text[index + 1 : index + 2]
    return _SHORTENED if around.strip() else _ELLIPSIS


def write_what_streams_can(environment: Mapping[str, str] = os.environ) -> None:
    """Let this process's stdout and stderr write stand-ins for what they cannot encode.

    Under `LC_ALL=C` Python writes UTF-8 regardless (PEP 540); setting it asks for ASCII,
    unless `PYTHONIOENCODING` or `PYTHONUTF8` says otherwise. A stream that a program has put in
    place of the process's own is left as it is.
    """
    codecs.register_error(_HANDLER, _replace)
    explicit = environment.get("PYTHONIOENCODING") or environment.get("PYTHONUTF8")
    is_ascii = environment.get("LC_ALL") in ("C", "POSIX") and not explicit
    for stream in (sys.stdout, sys.stderr):
        is_own = stream is sys.__stdout__ or stream is sys.__stderr__
        if is_own and isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="ascii" if is_ascii else None, errors=_HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    places = range(error.start, error.end)
    return "".join(stand_in(error.object, place) for place in places), error.end
