"""What a training minimises, and what its models are scored by.

An objective is a loss with a metric. It knows outputs and targets, but neither data nor models.
"""

from gradcli.objectives.guessing import levels_of_function, loss_levels
from gradcli.objectives.objective import (
    CountOfTerms,
    LossFunction,
    Objective,
    ScoreFunction,
    score_of,
)
from gradcli.objectives.shipped import CROSS_ENTROPY, SHIPPED, objective_named

__all__ = [
    "CROSS_ENTROPY",
    "SHIPPED",
    "CountOfTerms",
    "LossFunction",
    "Objective",
    "ScoreFunction",
    "levels_of_function",
    "loss_levels",
    "objective_named",
    "score_of",
]
