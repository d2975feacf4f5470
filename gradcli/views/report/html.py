"""HTML as a tree of text: whatever is not marked as HTML is escaped, so nothing of a run's can run.

Names, labels and config values may hold anything. They reach a page only through `element`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from gradcli.notation.visible import in_json, visible

#: Elements that have no content, and no closing tag.
_VOID = {"input", "meta"}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable["Content"] | None
"""What an element holds: text, which is escaped, HTML, or several of either; None is nothing."""


def html(*contents: Content) -> Html:
    """Return contents one after the other."""
    return Html("".join(map(_written, contents)))


def element(tag: str, *contents: Content, **attributes: str | int | float | bool | None) -> Html:
    """Return an element.

    Args:
        tag: such as `p`.
        contents: what it holds.
        attributes: by name; `class_` is `class`, and `aria_label` is `aria-label`. One that is
            None or False is left out, and one that is True has no value.
    """
    given = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_quoted(value)}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{html(*contents)}</{tag}>")


def embedded_json(value: Any, **attributes: str) -> Html:
    """Return a script element that holds data; no text in it can end the element."""
    text = in_json(json.dumps(value, separators=(",", ":"), allow_nan=False))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return element("script", Html(text), type="application/json", **attributes)


def _written(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return escape(visible(content, kept="\n\t"), quote=False)
    return "".join(map(_written, content))


def _quoted(value: str | float) -> str:
    return escape(visible(value) if isinstance(value, str) else f"{value:.7g}")
