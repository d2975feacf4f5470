"""From the class that a config names to an engine, the default one started before it is named.

A local worker takes seconds to load torch. It starts before this process has composed its config,
by a guess from the command line; the config decides, and a wrong guess costs one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from gradcli.comparison.engine import Engine, OpenEngine
from gradcli.engines import local

_KEY = "engine="


@contextmanager
def opened_engines(words: Sequence[str]) -> Iterator[OpenEngine]:
    """Offer a function that makes an engine from its class; close what it made at the end.

    Args:
        words: the overrides of the comparison, of which `engine=NAME` tells what to start now.
    """
    chosen = [word.removeprefix(_KEY) for word in words if word.startswith(_KEY)]
    with ExitStack() as stack:
        early: Engine | None = None
        if not chosen or chosen[-1] == "local":
            early = stack.enter_context(closing(local.LocalEngine()))

        def open_engine(engine: type, arguments: Mapping[str, Any]) -> Engine:
            # `jobs` is the local engine's only argument, and `scale` sets it.
            if early is not None and type(early) is engine:
                return early
            if early is not None:
                early.close()
            from gradcli.config.targets import construct  # the config was composed meanwhile

            made: Engine = stack.enter_context(closing(construct(engine, arguments, "engine")))
            return made

        yield open_engine
