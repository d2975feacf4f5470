"""The rules: from evidence to findings. `table_of_rules` has them in the order they apply.

starting_point  what a training starts from: the scale of its inputs and of its initial weights
wiring          how it is put together: modes, frozen layers, the loss
updates         layers that no update moves: what the optimizer holds
optimizer       its weight decay, momentum and epsilon
data            outliers and other spikes, labels of other inputs, and the order
step_size       does each step move the weights far enough, and not too far?
batch_noise     does a batch tell enough of the other examples?
no_progress     does it learn anything at all?
flow            do gradients reach every layer and unit, and how large are they?
time_steps      do they reach every time step?
broken          values that are not finite, derivatives that are wrong
needs           what it takes to apply a rule
"""

from gradcli.diagnosis.rules.table_of_rules import EXPLAINED_BY, RULES, Rule

__all__ = ["EXPLAINED_BY", "RULES", "Rule"]
