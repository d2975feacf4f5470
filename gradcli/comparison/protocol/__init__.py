"""Which trials a comparison needs next, as pure functions of the outcomes so far.

arms     what is compared, what is tried with it, and the trials that this makes
tuning   which trials the candidates of one arm need next, and which is best
advance  the state of every arm: tuning, choice, measurement
keeping  which trials' checkpoints are still of use
"""

from gradcli.comparison.protocol.advance import (
    ArmState,
    EarlierChoice,
    Memory,
    Protocol,
    advance,
)
from gradcli.comparison.protocol.arms import (
    LEARNING_RATE,
    Arm,
    ArmSearch,
    Candidate,
    Grid,
    Trial,
    config_key,
    grid_around,
    make_trial,
    searched_keys,
    with_rate,
    with_value,
)
from gradcli.comparison.protocol.keeping import best_trial, dispensable
from gradcli.comparison.protocol.tuning import Outcome, Outcomes

__all__ = [
    "LEARNING_RATE",
    "Arm",
    "ArmSearch",
    "ArmState",
    "Candidate",
    "EarlierChoice",
    "Grid",
    "Memory",
    "Outcome",
    "Outcomes",
    "Protocol",
    "Trial",
    "advance",
    "best_trial",
    "config_key",
    "dispensable",
    "grid_around",
    "make_trial",
    "searched_keys",
    "with_rate",
    "with_value",
]
