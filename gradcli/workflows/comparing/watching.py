"""Watching a comparison that another process leads, on this machine or on another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from gradcli.comparison.protocol import Trial
from gradcli.comparison.trial_store import ENDED, TrialStore
from gradcli.runs import ComparisonDirectory, Run
from gradcli.system.interrupts import caught_signals
from gradcli.system.locks import is_locked
from gradcli.workflows.comparing.showing import SECONDS_BETWEEN_LOOKS, Showing

if TYPE_CHECKING:
    from gradcli.views.compare.compare_view import CompareView

# How often to look whether anybody leads: on a shared disk that writes a file.
_SECONDS_BETWEEN_CHECKS = 2.0


def watch(directory: ComparisonDirectory, view: CompareView) -> int | None:
    """Show a comparison until nobody leads it any more.

    Returns:
        The signal that ended the watching before; None if nobody leads.
    """
    watching = _Watching(ComparisonDirectory(directory.path), view)
    next_check = 0.0
    with caught_signals(lambda: None) as caught:
        while not caught:
            if time.monotonic() >= next_check:
                if not is_locked(directory.path):
                    return None
                next_check = time.monotonic() + _SECONDS_BETWEEN_CHECKS
            watching.look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return caught[0]


class _Watching:
    """What is known of a comparison that another process changes."""

    def __init__(self, directory: ComparisonDirectory, view: CompareView) -> None:
        self._path, self._view = directory.path, view
        self._read(directory)
        view.start(self._store.info)

    def look(self) -> None:
        """Read what has ended since the last look, and show what runs; nothing if it is early."""
        if self._showing.seconds_until_look:
            return
        directory = ComparisonDirectory(self._path)
        if directory.state.get("proposals") != self._proposals:
            self._read(directory)
        running = []
        for trial, until, run in self._begun():
            outcome = self._store.read(trial.id)
            if outcome.status in ENDED or until in outcome.rungs:
                self._showing.ended(trial, has_result=True)
            elif run.state["status"] == "running":
                running.append((trial, until, run))
        self._showing.announce()
        self._showing.look(running)

    def _read(self, directory: ComparisonDirectory) -> None:
        """Read everything: what the plan follows from has changed."""
        self._directory, self._proposals = directory, directory.state.get("proposals")
        self._store = TrialStore(directory, directory.state.get("problems"))
        self._showing = Showing(self._store, self._view)

    def _begun(self) -> Iterator[tuple[Trial, int | None, Run]]:
        """Yield the wanted trials that have a run directory."""
        begun = {path.name for path in self._directory.trial_paths()}
        wanted = chain.from_iterable(state.wanted for state in self._store.states())
        for trial, until in list(wanted):
            run = self._directory.trial(trial.id) if trial.id in begun else None
            if run is not None:
                yield trial, until, run
