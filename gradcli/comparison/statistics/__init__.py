"""What scores over seeds say about the arms of a comparison, as pure functions on arrays.

An *arm* is one way to train (an optimizer with its settings), run once per seed; all arms use the
same seeds, so two arms are compared seed by seed. A *score* is a number such as an accuracy, better
if higher, or an error, better if lower. A trial that diverged has the score `DIVERGED`; one without
a result (it failed, or was not run) has NaN. Neither is averaged in: both are counted.

Estimates, intervals, tests and their power belong here, sentences about them in `warnings`. Files,
tables and torch do not. Distributions come from `scipy.special`: the functions behind
`scipy.stats`, at a fraction of its import time and cost per call.
"""

from gradcli.comparison.statistics.arm_scores import DIVERGED, LEVEL, rank_arms, summarise_scores
from gradcli.comparison.statistics.key_sensitivity import key_sensitivity
from gradcli.comparison.statistics.pair_tests import (
    ScoreComparison,
    ScoresByExample,
    compare_arms,
    holm,
)
from gradcli.comparison.statistics.rate_sensitivity import learning_rate_sensitivity
from gradcli.comparison.statistics.seeds_needed import (
    MOST_SEEDS,
    POWER,
    power,
    seeds_to_separate,
    separable_effect,
)
from gradcli.comparison.statistics.target_times import (
    median_interval,
    median_time,
    time_to_target,
)
from gradcli.comparison.statistics.time_tests import compare_times, rank_sum_p

__all__ = [
    "DIVERGED",
    "LEVEL",
    "MOST_SEEDS",
    "POWER",
    "ScoreComparison",
    "ScoresByExample",
    "compare_arms",
    "compare_times",
    "holm",
    "key_sensitivity",
    "learning_rate_sensitivity",
    "median_interval",
    "median_time",
    "power",
    "rank_arms",
    "rank_sum_p",
    "seeds_to_separate",
    "separable_effect",
    "summarise_scores",
    "time_to_target",
]
