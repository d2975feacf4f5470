"""What a run probes and when: the words of `monitor`, checked, and turned into steps."""

from __future__ import annotations

from collections.abc import Sequence

from gradcli.config.schema import MonitorConfig
from gradcli.errors import UserError, nearest
from gradcli.probes.names import choose_probes

#: The words of `monitor.probes_at`, besides the numbers of steps.
MOMENTS = ("start", "epoch", "end")


def check_monitor(monitor: MonitorConfig) -> None:
    """Check the names of probes and moments.

    Raises:
        UserError: for one that there is not.
    """
    choose_probes(monitor.probes, where="monitor.probes", ask="monitor.probes=[{}]")
    for moment in monitor.probes_at:
        if isinstance(moment, int) and moment < 0:
            raise UserError(
                f"monitor.probes_at names step {moment}; 0 is before the first one.",
                where="monitor.probes_at",
                hint="monitor.probes_at=[start,100]",
            )
        if isinstance(moment, str) and moment not in MOMENTS:
            likely = nearest(moment, MOMENTS) or list(MOMENTS)
            raise UserError(
                f"There is no moment '{moment}'.",
                where="monitor.probes_at",
                choices=likely,
                hint=f"monitor.probes_at=[{likely[0]}], or the number of a step",
            )


def probe_steps(
    moments: Sequence[str | int], *, steps_per_epoch: int, total_steps: int
) -> frozenset[int]:
    """Return the steps after which a run probes its model; 0 is before the first one.

    Args:
        moments: `start`, `epoch` (each one's end, that of the last one wherever the run ends),
            `end`, and numbers of steps, of which those beyond the end are left out.
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
