"""What a comparison at work shows: from its directory and its trial store to a view.

Whoever leads a comparison shows it so, and whoever only watches one that another process leads.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

from gradcli.comparison import trials
from gradcli.comparison.progress import Curve, ProgressReader
from gradcli.comparison.protocol import Trial
from gradcli.comparison.trial_store import TrialStore
from gradcli.runs import Run

if TYPE_CHECKING:
    from gradcli.views.compare.compare_view import CompareView

# Progress is read this often, but takes at most a hundredth of the time: it costs more as the
# comparison grows, and the trials need the processor.
SECONDS_BETWEEN_LOOKS = 0.25
_PAUSE_PER_COST = 100


class Showing:
    """Hands to a view what is new in a comparison.

    Args:
        store: what is known of the comparison. The trials that have ended by now are not announced.
        view: shows it.
    """

    def __init__(self, store: TrialStore, view: CompareView) -> None:
        self._store, self._view = store, view
        self._began: dict[str, float] = {}
        self._curves: dict[str, Curve] = {}
        self._dropped_recorders: set[str] = set()
        self._progress = ProgressReader()
        self._shown = set(store.ended_ids())
        self._start = self._next_look = time.monotonic()

    @property
    def already_done(self) -> int:
        """The number of trials that had ended before, or were announced since."""
        return len(self._shown)

    @property
    def seconds_elapsed(self) -> float:
        """The time since the beginning."""
        return time.monotonic() - self._start

    @property
    def seconds_until_look(self) -> float:
        """How long to wait for the next look; 0 if it is due."""
        return max(0.0, self._next_look - time.monotonic())

    def announce(self, same: Container[str] = ()) -> None:
        """Show the trials that have ended since the last time.

        Args:
            same: the names of arms that have not changed since then.
        """
        for trial in self._store.ended(self._shown, same):
            self._shown.add((trial.arm, trial.id))
            self._view.trial(trial)

    def ended(self, trial: Trial, *, has_result: bool) -> None:
        """Keep the curves of a trial that runs no longer, if they are of a result."""
        self._began.pop(trial.id, None)
        run = self._store.run(trial.id) if has_result else None
        if run is not None:
            self._note_dropped_recorders(trial, run)
            steps = run.last_steps(trials.RECENT_STEPS)
            if len(steps):
                # Copies, without the norms of all parameters, of which there may be hundreds.
                self._curves[trial.arm] = (
                    steps.loss.copy(),
                    steps.grad_norm_before_clip.copy(),
                    steps.clip_coefficient.copy(),
                )

    def look(self, running: Iterable[tuple[Trial, int | None, Run]]) -> None:
        """Show the progress; the next look waits in proportion to the cost of this one.

        Args:
            running: the trials that run now, with the step at which each pauses. They are read
                here, which is most of the cost.
        """
        arms, info = self._store.arms(retimed=False), self._store.info
        self._progress.leader(arms, info)  # which has a pause of its own
        now = time.monotonic()
        snapshots = [
            trials.snapshot(
                trial, run, until=until, seconds=now - self._began.setdefault(trial.id, now)
            )
            for trial, until, run in running
        ]
        self._view.progress(
            self._progress.read(
                arms,
                info,
                snapshots,
                self._curves,
                seconds_elapsed=now - self._start,
            )
        )
        end = time.monotonic()
        self._next_look = end + max(SECONDS_BETWEEN_LOOKS, _PAUSE_PER_COST * (end - now))

    def _note_dropped_recorders(self, trial: Trial, run: Run) -> None:
        """Say which recorder failed in a trial, once for all trials."""
        for name, error in run.state.get("dropped_recorders", {}).items():
            if name not in self._dropped_recorders:
                self._dropped_recorders.add(name)
                self._view.note(
                    f"The recorder {name} failed in {trial.arm}, seed {trial.seed}: {error}. "
                    "The trial went on without it."
                )
