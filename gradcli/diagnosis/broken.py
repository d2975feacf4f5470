"""Rules on what is broken outright: values that are no numbers, derivatives that are none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import LARGE_UPDATE, LOSS_BLOWN_UP
from gradcli.records import Finding


def non_finite(evidence: Evidence) -> Iterator[Finding]:
    """A NaN or an infinity stopped the run."""
    fault = evidence.fault
    if fault is None:
        return
    where = {
        "forward": f"the output of the layer {fault.layer}",
        "loss": "the loss",
        "backward": f"the gradient of the layer {fault.layer}",
    }[fault.phase]
    if evidence.info.is_own_loop:
        consequence = "An update made with it carries it into the weights."
    elif evidence.steps:
        consequence = "The update was not made, so the weights are those from before it."
    else:
        consequence = "No update was made before it: the initial weights, or the data, bring it."
    cause, override = _cause_of_fault(evidence)
    yield Finding(
        code="non-finite",
        severity="error",
        layer=fault.layer,
        evidence={"step": fault.step, "loss": fault.loss, "phase": fault.phase},
        threshold="any NaN or infinity in the loss or a gradient",
        message=f"At step {fault.step} {where} was the first value to be no finite number. "
        f"{consequence} {cause}",
        override=override,
    )


def _cause_of_fault(evidence: Evidence) -> tuple[str, str | None]:
    """Say what led to a fault, as far as the steps before it tell, and what to try."""
    if evidence.began_exploded:
        return "The loss was far too large from the start.", remedies.keep_signals_small(evidence)
    if evidence.rate_changes:
        jump = evidence.rate_changes[-1]
        return (
            f"The learning rate had become {jump.factor:.3g} times as large at step {jump.step}.",
            remedies.smooth_schedule(evidence),
        )
    ratios = evidence.update_ratios
    largest = float(np.nanmax(ratios)) if np.isfinite(ratios).any() else 0.0
    rose = len(evidence.losses) > 0 and (
        evidence.losses.max() > LOSS_BLOWN_UP.value * evidence.losses[0]
    )
    if rose or largest > LARGE_UPDATE.value:
        return (
            "The loss or the updates had grown before: the learning rate is too high.",
            remedies.lower_learning_rate(evidence, largest / LARGE_UPDATE.value),
        )
    return (
        "Neither loss nor updates had grown before it: look in that place for a division by "
        "zero, a logarithm or a root of what may be negative, or at the batch itself.",
        None,
    )


def wrong_gradient(evidence: Evidence) -> Iterator[Finding]:
    """A module's derivative is not that of what it computes."""
    for name, error in (evidence.probed and evidence.probed.wrong_gradients) or ():
        yield Finding(
            code="wrong-gradient",
            severity="error",
            layer=name,
            evidence={"relative_error": error},
            threshold="autograd and central differences in float64 differ by more than 0.001",
            message=f"The backward pass of {name} does not belong to its forward pass: what it "
            "returns is not the derivative, so steps do not go downhill.",
            override=None,
        )
