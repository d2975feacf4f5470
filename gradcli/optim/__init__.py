"""Optimizers and learning rates: from a class and its settings to what the loop calls.

This room builds any `torch.optim.Optimizer` and any schedule, and provides the `LearningRate` that
a training loop sets before each update. `gradients` handles a gradient before the update; `fast`
makes the update.
"""

from gradcli.optim.first_updates import longer_at_first
from gradcli.optim.learning_rate import LearningRate
from gradcli.optim.optimizers import build_optimizer, evaluates_loss, load_optimizer_state
from gradcli.optim.routing import RuledGroup, route
from gradcli.optim.schedules import Constant, Cosine, OneCycle, Schedule, Step
from gradcli.optim.torch_schedule import TorchSchedule, build_schedule
from gradcli.optim.weight_modes import evaluated_state, evaluation_weights, has_two_sets

__all__ = [
    "Constant",
    "Cosine",
    "LearningRate",
    "OneCycle",
    "RuledGroup",
    "Schedule",
    "Step",
    "TorchSchedule",
    "build_optimizer",
    "build_schedule",
    "evaluated_state",
    "evaluates_loss",
    "evaluation_weights",
    "has_two_sets",
    "load_optimizer_state",
    "longer_at_first",
    "route",
]
