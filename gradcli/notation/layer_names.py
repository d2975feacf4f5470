"""Layers in sentences: their names, and the words that agree with their number."""

from __future__ import annotations

from gradcli.notation import numbers


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


def and_others(count: int) -> str:
    """Say how many other layers are affected too; empty for none."""
    if not count:
        return ""
    return f" {numbers.count(count, 'other layer')} {'is' if count == 1 else 'are'} affected too."
