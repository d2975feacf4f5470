"""What a rule takes: each function says what is missing, in words, or returns an empty string."""

from __future__ import annotations

import numpy as np

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.loss_trend import FEWEST_STEPS


def gradients(evidence: Evidence) -> str:
    """Take gradients: a step of a run, or of a probe."""
    return "" if len(evidence.norms) or evidence.fault else "a step, or a model to probe"


def steps(evidence: Evidence) -> str:
    """Take enough steps to tell a trend from chance."""
    return "" if evidence.steps >= FEWEST_STEPS else f"a run of {FEWEST_STEPS} steps or more"


def updates(evidence: Evidence) -> str:
    """Take updates measured beside the weights."""
    if np.isfinite(evidence.update_ratios).any():
        return steps(evidence)
    own_loop = evidence.info.is_own_loop
    setting = "GradientMonitor(every=...)" if own_loop else "monitor.every"
    return steps(evidence) or f"a run with {setting} above 0"


def updates_or_fault(evidence: Evidence) -> str:
    """Take updates, however few if a value that is not finite ended the run."""
    known = not np.isnan(evidence.update_ratios).all()  # an infinite one is measured, too
    return "" if evidence.fault is not None and known else updates(evidence)


# A run in the user's own loop does not store its model, so it cannot be probed.
_NEEDS_MODEL = "the model, which is not stored with a run of your own loop"


def activations(evidence: Evidence) -> str:
    """Take a probe of the activations."""
    if evidence.probed is not None:
        return ""
    if evidence.info.is_own_loop:
        return _NEEDS_MODEL
    return "a probe of the activations: --probe signals"


def noise(evidence: Evidence) -> str:
    """Take the noise of the gradient, or enough steps to see it in the loss."""
    if evidence.probed is not None and evidence.probed.noise_scale is not None:
        return ""
    if evidence.info.is_own_loop:
        return steps(evidence)
    return steps(evidence) and f"{steps(evidence)}, or --probe noise"


def check(evidence: Evidence) -> str:
    """Take derivatives checked against finite differences."""
    if evidence.probed is not None and evidence.probed.wrong_gradients is not None:
        return ""
    return _NEEDS_MODEL if evidence.info.is_own_loop else "--check"


def setup(evidence: Evidence) -> str:
    """Take a record of how the training is put together."""
    if evidence.setup is not None:
        return ""
    return "a run that a newer gradcli recorded"


def observed(evidence: Evidence) -> str:
    """Take such a record, and steps that show it."""
    if evidence.steps < 2 and evidence.fault is None:
        return "a run: only its steps show how it is set up"
    return setup(evidence)


def setup_and_steps(evidence: Evidence) -> str:
    """Take such a record, and updates."""
    return observed(evidence) or updates(evidence)


def start(evidence: Evidence) -> str:
    """Take the weights before training."""
    return "" if np.isfinite(evidence.weights).any() else "the weights of the first step"
