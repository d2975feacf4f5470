"""The learning rate that suits a training, from rehearsals of it: pure functions of their losses.

A *rehearsal* is the whole training, its schedule included, squeezed into a few steps. `rehearsals`
says which are needed next, `judging` what their losses say. `workflows.find_lr` trains them.
"""

from gradcli.comparison.best_rate.found_rate import FoundRate
from gradcli.comparison.best_rate.judging import ProposedRate, RateLosses, Reason, judged
from gradcli.comparison.best_rate.rehearsals import (
    Losses,
    RateSearch,
    Rehearsal,
    affordable_steps,
    next_rehearsals,
)

__all__ = [
    "FoundRate",
    "Losses",
    "ProposedRate",
    "RateLosses",
    "RateSearch",
    "Reason",
    "Rehearsal",
    "affordable_steps",
    "judged",
    "next_rehearsals",
]
