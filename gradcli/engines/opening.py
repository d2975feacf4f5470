"""From the class that a config names to an engine, the default one started before it is named.

A local worker takes seconds to load torch. It starts before this process has composed its config,
by a guess from the command line; the config decides, and a wrong guess costs one process.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from gradcli.comparison.engine import Engine, OpenEngine
from gradcli.engines import local

_KEY = "engine="


@contextmanager
def opened_engines(words: Sequence[str], *, early: bool = True) -> Iterator[OpenEngine]:
    """Offer a function that makes an engine from its class; close what it made at the end.

    Args:
        words: the overrides of the comparison, of which `engine=NAME` tells what to start now.
        early: whether to start an engine now; it is not sure that a comparison that is resumed
            needs one.
    """
    chosen = [word.removeprefix(_KEY) for word in words if word.startswith(_KEY)]
    with ExitStack() as stack:
        first: Engine | None = None
        if early and (not chosen or chosen[-1] == "local"):
            first = stack.enter_context(closing(local.LocalEngine()))

        def open_engine(engine: type, arguments: Mapping[str, Any]) -> Engine:
            if first is not None and type(first) is engine and _is_usual(engine, arguments):
                return first
            if first is not None:
                first.close()
            from gradcli.config.targets import construct  # the config was composed meanwhile

            made: Engine = stack.enter_context(closing(construct(engine, arguments, "engine")))
            return made

        yield open_engine


def _is_usual(engine: type, arguments: Mapping[str, Any]) -> bool:
    """Whether arguments are the defaults of a class, apart from `jobs`, which `scale` sets."""
    defaults = {key: one.default for key, one in inspect.signature(engine).parameters.items()}
    return all(key == "jobs" or value == defaults[key] for key, value in arguments.items())
