"""Rules on what is plainly broken: values that are not finite, derivatives that are wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    HALF_LEARNED,
    LARGE_UPDATE,
    LOSS_BLOWN_UP,
    MOVED,
    SLOW_START,
)
from gradcli.diagnosis.loss_course import began_exploded, has_learned, loss_kept
from gradcli.diagnosis.update_sizes import updates_too_large
from gradcli.diagnosis.which_loss import is_measured_by_guessing, judges_loss
from gradcli.notation import numbers
from gradcli.notation.faults import fault_mend, fault_sentences, fault_teller
from gradcli.records import FaultRecord, Finding

# What is not finite however small the values are: the number of values makes it, or a mask.
_CAUSES_OF_ANY_SIZE = (
    *("the mean of no values", "the standard deviation of", "the variance of"),
    *("a softmax over values that are all -inf", "attention with every key masked"),
)


def non_finite(evidence: Evidence) -> Iterator[Finding]:
    """A NaN or an infinity stopped the run."""
    fault = evidence.fault
    if fault is None:
        return
    own_loop = evidence.info.is_own_loop
    if fault.phase == "update":
        consequence = "All that comes later computes with it."
    elif fault.split:
        consequence = "The weights are finite, but the model has no score."
    elif own_loop:
        consequence = "An update made with it puts it into the weights."
    elif evidence.steps:
        consequence = "The update was skipped, so the weights are those from before it."
    else:
        consequence = "No update came before it, so the initial weights or the data cause it."
    if fault.unsure and own_loop:
        consequence += f" {fault_teller(fault)}"
    cause, override = _cause_of_fault(evidence)
    yield Finding(
        code="non-finite",
        severity="error",
        layer=fault.layer,
        evidence={
            "step": fault.step,
            "loss": fault.loss,
            "phase": fault.phase,
            **_known(fault, ("operation", "tensor", "after", "before", "split")),
            **_known(fault, ("forward_pass", "forward_passes")),
        },
        threshold="any NaN or infinity in the loss or a gradient",
        message=f"{fault_sentences(fault)} {consequence} {cause}".rstrip(),
        override=override,
        mend=fault_mend(fault),
    )


def _known(fault: FaultRecord, names: tuple[str, ...]) -> dict[str, str | int]:
    """Return the fields of a fault that are not empty."""
    return {name: getattr(fault, name) for name in names if getattr(fault, name)}


def _cause_of_fault(evidence: Evidence) -> tuple[str, str | None]:
    """Say what caused a fault, as far as the steps before it show, and what to try."""
    fault = evidence.fault
    assert fault is not None
    if began_exploded(evidence):
        return "The loss was far too large from the start.", remedies.keep_signals_small(evidence)
    if evidence.rate_changes:
        jump = evidence.rate_changes[-1]
        return (
            f"The learning rate was multiplied by {numbers.norm(jump.factor)} at step {jump.step}.",
            remedies.smooth_schedule(evidence),
        )
    if fault.phase in ("inputs", "parameters"):
        return "", None
    ratios = evidence.update_ratios
    largest = float(np.nanmax(ratios)) if np.isfinite(ratios).any() else 0.0
    by_the_data = is_of_any_size(fault)
    if (_loss_rose(evidence) or largest > LARGE_UPDATE.value) and not by_the_data:
        return (
            "The loss or the updates had grown before it: the steps were too large.",
            remedies.lower_learning_rate(evidence, largest / LARGE_UPDATE.value),
        )
    if by_the_data:
        return "", None
    before = "" if fault.step <= 1 else "Neither the loss nor the updates had grown before it."
    if fault.cause:
        no_epsilon = fault.phase == "update" and fault.cause.startswith("eps=0")
        override = "optimizer.eps=1e-8" if no_epsilon and not evidence.info.is_own_loop else None
        return before, override
    look = (
        "Look there for a division by zero, or a logarithm or root of a negative number, and look "
        "at the batch."
    )
    return f"{before} {look}".lstrip(), None


def _loss_rose(evidence: Evidence) -> bool:
    """Whether the loss was once far above the first one."""
    losses = evidence.losses
    return len(losses) > 0 and bool(losses.max() > LOSS_BLOWN_UP.value * losses[0])


def _grew_before_fault(fault: FaultRecord, evidence: Evidence) -> bool:
    """Whether the loss had grown before a value was not finite, which it may have caused."""
    return not is_of_any_size(fault) and _loss_rose(evidence)


def is_of_any_size(fault: FaultRecord) -> bool:
    """Whether the fault would have occurred however small the steps before it were."""
    return fault.cause.startswith(_CAUSES_OF_ANY_SIZE)


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
            mend=f"Correct backward of the torch.autograd.Function in {name}; "
            "torch.autograd.gradcheck tests it.",
        )


def backward_by_hand(evidence: Evidence) -> Iterator[Finding]:
    """The loss does not fall, and part of the backward pass is written by hand.

    Whether it is wrong is not known before it is checked.
    """
    setup = evidence.setup
    if setup is None or not setup.own_functions or not judges_loss(evidence):
        return
    if evidence.fault is not None and not _grew_before_fault(evidence.fault, evidence):
        return
    if evidence.fault is None and evidence.steps < SLOW_START.value:
        return
    # Layers after the function get the right gradient, so a part may be learned.
    learns = is_measured_by_guessing(evidence) and has_learned(evidence)
    if learns or loss_kept(evidence) <= HALF_LEARNED.value:
        return
    usual = evidence.usual_update_ratios
    if not np.isfinite(usual).any() or not evidence.steps * np.nanmax(usual) > MOVED.value:
        return
    if updates_too_large(evidence):
        return  # then it is the learning rate
    name, place = setup.own_functions[0]
    layer = evidence.info.layers[place].name if place >= 0 else None
    where = f", which works on the result of {layer}," if layer else ""
    how = "" if evidence.info.is_own_loop else " --check tells whether it is."
    yield Finding(
        code="wrong-gradient",
        severity="warning",
        layer=layer,
        evidence={
            "function": name,
            "functions": len(setup.own_functions),
            "first_loss": evidence.convergence.first_loss,
            "last_loss": evidence.convergence.last_loss,
        },
        threshold="a torch.autograd.Function of your own in the graph of a loss that does not "
        f"fall, although updates add up to more than {MOVED} of the weights ({MOVED.source})",
        message=f"The backward pass of {name}{where} may be wrong: it is written by hand, "
        "gradients arrive and the weights move, but the loss "
        f"went from {numbers.norm(evidence.convergence.first_loss)} to "
        f"{numbers.norm(evidence.convergence.last_loss)}.{how}",
        override=None,
        mend=f"Check the backward of {name} with torch.autograd.gradcheck, and correct it.",
    )
