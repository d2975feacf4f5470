"""Optimizers and learning rates: from a class and its settings to what the loop calls.

Here belong the construction of any `torch.optim.Optimizer`, the schedules, the `LearningRate`
that a training loop sets before each update, and the `Update` that it then makes. What happens
to a gradient before the update does not.
"""

from gradcli.fast.update import HeldUpdate, Update
from gradcli.optim.learning_rate import LearningRate
from gradcli.optim.optimizers import build_optimizer, keeps_layout, load_optimizer_state
from gradcli.optim.schedules import Constant, Cosine, OneCycle, Schedule, Step
from gradcli.optim.torch_schedule import TorchSchedule, build_schedule

__all__ = [
    "Constant",
    "Cosine",
    "HeldUpdate",
    "LearningRate",
    "OneCycle",
    "Schedule",
    "Step",
    "TorchSchedule",
    "Update",
    "build_optimizer",
    "build_schedule",
    "keeps_layout",
    "load_optimizer_state",
]
