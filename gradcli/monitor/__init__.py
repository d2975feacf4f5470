"""`GradientMonitor`: the measurements of `gradcli train` in a training loop of your own.

What is measured, and how, is in `gradients`; here is what a foreign loop adds: wrapped models,
gradient scalers, hooks on the optimizer, and a forward pass that may have to be repeated.
"""

from gradcli.monitor.gradient_monitor import GradientMonitor

__all__ = ["GradientMonitor"]
