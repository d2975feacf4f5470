"""What a training minimises, and what its models are scored by.

An objective is a loss with metrics. It knows outputs and targets, but neither data nor models.
"""

from gradcli.objectives.choosing import MetricChoice, chosen_objective
from gradcli.objectives.guessing import loss_levels
from gradcli.objectives.named_metrics import NAMED_METRICS
from gradcli.objectives.objective import (
    CountOfTerms,
    LossFunction,
    Measure,
    Objective,
    ScoreFunction,
    score_of,
)
from gradcli.objectives.shipped import CROSS_ENTROPY, SHIPPED, objective_named

__all__ = [
    "CROSS_ENTROPY",
    "NAMED_METRICS",
    "SHIPPED",
    "CountOfTerms",
    "LossFunction",
    "Measure",
    "MetricChoice",
    "Objective",
    "ScoreFunction",
    "chosen_objective",
    "loss_levels",
    "objective_named",
    "score_of",
]
