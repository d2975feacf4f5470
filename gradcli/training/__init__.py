"""Training: the step, the loop that yields records, evaluation."""

from gradcli.training.evaluation import evaluate
from gradcli.training.forward_work import multiplications
from gradcli.training.step import StepResult, TrainingStep
from gradcli.training.threads import worthwhile_threads
from gradcli.training.trainer import Trainer
from gradcli.training.training_plan import PassPlan, TrainingPlan, total_steps

__all__ = [
    "PassPlan",
    "StepResult",
    "Trainer",
    "TrainingPlan",
    "TrainingStep",
    "evaluate",
    "multiplications",
    "total_steps",
    "worthwhile_threads",
]
