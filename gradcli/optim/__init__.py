"""Optimizers and learning rates: from a class and its settings to what the loop calls.

Here belong the construction of any `torch.optim.Optimizer`, the schedules, and the
`LearningRate` that a training loop sets before each update. What happens to a gradient
before the update does not.
"""

from gradcli.optim.learning_rate import LearningRate
from gradcli.optim.optimizers import build_optimizer
from gradcli.optim.schedules import Constant, Cosine, OneCycle, Schedule, Step
from gradcli.optim.torch_schedule import TorchSchedule, build_schedule

__all__ = [
    "Constant",
    "Cosine",
    "LearningRate",
    "OneCycle",
    "Schedule",
    "Step",
    "TorchSchedule",
    "build_optimizer",
    "build_schedule",
]
