"""Rules on what is plainly broken: values that are not finite, derivatives that are wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import LARGE_UPDATE, LOSS_BLOWN_UP
from gradcli.records import Finding
from gradcli.views import numbers


def non_finite(evidence: Evidence) -> Iterator[Finding]:
    """A NaN or an infinity stopped the run."""
    fault = evidence.fault
    if fault is None:
        return
    place = {
        "forward": f"the output of layer `{fault.layer}`",
        "loss": "the loss",
        "backward": f"the gradient of layer `{fault.layer}`",
    }[fault.phase]
    if evidence.info.is_own_loop:
        consequence = "An update made with it puts it into the weights."
    elif evidence.steps:
        consequence = "The update was skipped, so the weights are those from before it."
    else:
        consequence = "No update came before it, so the initial weights or the data cause it."
    cause, override = _cause_of_fault(evidence)
    yield Finding(
        code="non-finite",
        severity="error",
        layer=fault.layer,
        evidence={"step": fault.step, "loss": fault.loss, "phase": fault.phase},
        threshold="any NaN or infinity in the loss or a gradient",
        message=f"At step {fault.step} the first non-finite value (inf or NaN) was {place}. "
        f"{consequence} {cause}",
        override=override,
    )


def _cause_of_fault(evidence: Evidence) -> tuple[str, str | None]:
    """Say what caused a fault, as far as the steps before it show, and what to try."""
    if evidence.began_exploded:
        return "The loss was far too large from the start.", remedies.keep_signals_small(evidence)
    if evidence.rate_changes:
        jump = evidence.rate_changes[-1]
        return (
            f"The learning rate was multiplied by {numbers.norm(jump.factor)} at step {jump.step}.",
            remedies.smooth_schedule(evidence),
        )
    ratios = evidence.update_ratios
    largest = float(np.nanmax(ratios)) if np.isfinite(ratios).any() else 0.0
    rose = len(evidence.losses) > 0 and (
        evidence.losses.max() > LOSS_BLOWN_UP.value * evidence.losses[0]
    )
    if rose or largest > LARGE_UPDATE.value:
        return (
            "The loss or the updates had grown before it: the learning rate is too high.",
            remedies.lower_learning_rate(evidence, largest / LARGE_UPDATE.value),
        )
    return (
        "Neither the loss nor the updates had grown before it. Look there for a division by "
        "zero, or a logarithm or root of a negative number, and look at the batch.",
        None,
    )


def wrong_gradient(evidence: Evidence) -> Iterator[Finding]:
    """A module's derivative does not match what the module computes."""
    for name, error in (evidence.probed and evidence.probed.wrong_gradients) or ():
        yield Finding(
            code="wrong-gradient",
            severity="error",
            layer=name,
            evidence={"relative_error": error},
            threshold="autograd and central differences in float64 differ by more than 0.001",
            message=f"The backward pass of {name} does not match its forward pass: it does not "
            "return the derivative, so steps do not go downhill.",
            override=None,
        )
