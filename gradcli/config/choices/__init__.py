"""What can be chosen: the options of groups as their files describe them, and experiments."""

from gradcli.config.choices.experiments import Experiment, blaming, chosen_experiment
from gradcli.config.choices.menu import ALL_GROUPS, Option, menu

__all__ = ["ALL_GROUPS", "Experiment", "Option", "blaming", "chosen_experiment", "menu"]
