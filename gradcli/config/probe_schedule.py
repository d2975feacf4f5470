"""Which probes the config asks for, and when a run runs them: names and moments, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradcli.config.schema import MonitorConfig
from gradcli.config.targets import members_of
from gradcli.errors import UserError, nearest
from gradcli.probes.probe import Probe
from gradcli.probes.registry import add_probe, choose_probes, selectable_probes

#: What `monitor.probes_at` may name, apart from step numbers.
MOMENTS = ("start", "epoch", "end")


def add_allowed_probes(names: Sequence[str], allow_import: Sequence[str]) -> None:
    """Register the user's own probes, if `names` may name one of them.

    Those are the `PROBES` of the packages that the user allows by name. No package is imported
    if all `names` are known: importing may be slow.

    Raises:
        UserError: if a package cannot be imported, or its `PROBES` are not probes.
    """
    if all(name in selectable_probes() for name in names):
        return
    for probe in members_of(allow_import, "PROBES", Probe):
        add_probe(probe)


def allowed_probes(names: Sequence[str], allow_import: Sequence[str]) -> tuple[Probe[Any], ...]:
    """Return the probes that `--probe` names, the user's own included.

    Raises:
        UserError: for an unknown name, or a package that cannot be imported.
    """
    add_allowed_probes(names, allow_import)
    return choose_probes(names)


def check_monitor(monitor: MonitorConfig, allow_import: Sequence[str] = ()) -> None:
    """Check the names of probes and moments.

    Raises:
        UserError: for an unknown one.
    """
    add_allowed_probes(monitor.probes, allow_import)
    choose_probes(monitor.probes, where="monitor.probes", ask="monitor.probes=[{}]")
    for moment in monitor.probes_at:
        if isinstance(moment, int) and moment < 0:
            raise UserError(
                f"monitor.probes_at names step {moment}; steps count from 0.",
                where="monitor.probes_at",
                hint="monitor.probes_at=[start,100]",
            )
        if isinstance(moment, str) and moment not in MOMENTS:
            likely = nearest(moment, MOMENTS) or list(MOMENTS)
            raise UserError(
                f"'{moment}' is not a moment of a run.",
                where="monitor.probes_at",
                choices=likely,
                hint=f"monitor.probes_at=[{likely[0]}], or the number of a step",
            )


def probe_steps(
    moments: Sequence[str | int], *, steps_per_epoch: int, total_steps: int
) -> frozenset[int]:
    """Return the steps after which a run probes its model; 0 is before the first one.

    Args:
        moments: `start`, `epoch` (the end of each, and the end of the run), `end`, and numbers
            of steps; those beyond the end are left out.
        steps_per_epoch: of a whole epoch.
        total_steps: of the run.
    """
    meanings = {
        "start": {0},
        "epoch": {*range(steps_per_epoch, total_steps, steps_per_epoch), total_steps},
        "end": {total_steps},
    }
    steps: set[int] = set()
    for moment in moments:
        steps |= {moment} if isinstance(moment, int) else meanings[moment]
    return frozenset(step for step in steps if step <= total_steps)
