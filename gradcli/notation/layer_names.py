"""Layers in sentences: their names, and the words that agree with their number."""

from __future__ import annotations


def named(names: list[str]) -> str:
    """Name up to two layers; of more, the number, the first and the last."""
    if len(names) <= 2:
        return " and ".join(names)
    return f"{len(names)} layers, {names[0]} to {names[-1]},"


def are(names: list[str]) -> str:
    """Return `is` of one layer, and `are` of more."""
    return "is" if len(names) == 1 else "are"


def get(names: list[str]) -> str:
    """Return `gets` of one layer, and `get` of more."""
    return "gets" if len(names) == 1 else "get"


def them(names: list[str]) -> str:
    """Return `it` for one layer, and `them` for more."""
    return "it" if len(names) == 1 else "them"
