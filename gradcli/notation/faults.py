"""The first non-finite value of a run in words: the same ones on every screen."""

from __future__ import annotations

from gradcli.records import FaultRecord

#: What tells the place if a repeated pass cannot.
WATCH_LINE = 'GradientMonitor(model, optimizer, watch="every_pass")'
#: Why a place is not certain, if several processes train.
ELSEWHERE = "this process has computed finite values only, so another one may have made it"
SHARDED = "one process cannot repeat the passes of a sharded model"


def fault_place(fault: FaultRecord) -> str:
    """Name the place of the first non-finite value, such as ``the output of layer `log` ``."""
    match fault.phase:
        case "inputs":
            return fault.tensor if " " in fault.tensor else f"the model's input `{fault.tensor}`"
        case "parameters":
            return f"`{fault.tensor}`, already before the pass"
        case "update":
            return f"`{fault.tensor}` after the update, although the gradients had been finite"
        case "loss":
            return f"the loss{_between(fault)}"
        case "backward" if fault.layer is None:
            return f"the gradient{_between(fault)}" if fault.after else "the gradient of the loss"
        case "backward":
            return f"the gradient of {_layer(fault)}{_between(fault)}"
        case _ if fault.layer is None:
            return f"the value{_between(fault)}"
        case _ if fault.after:
            return f"a value in the forward pass of {_layer(fault)}{_between(fault)}"
        case _:
            return f"the output of {_layer(fault)}"


def fault_sentences(fault: FaultRecord) -> str:
    """Say where the first non-finite value arose, in which pass, and why, as far as it is known."""
    where = f"At step {fault.step}"
    if fault.split:
        where = f"In the evaluation on the {fault.split} split after step {fault.step}"
    text = f"{where},{_pass(fault)} the first non-finite value (inf or NaN) was "
    text += fault_place(fault)
    if fault.operation:
        text += f", made by {fault.operation}"
    if fault.cause:
        text += f": {fault.cause}"
    text += "."
    if fault.unsure:
        text += f" The place is not certain: {fault.unsure}."
    return text


def fault_mend(fault: FaultRecord) -> str:
    """Say which change of code mends it, in one sentence; empty if that is not known."""
    if fault.phase == "inputs":
        return "Leave such examples out, or replace their values, before the model sees them."
    if fault.phase == "parameters":
        return "Load or initialise it with finite values."
    for beginning, mend in _MENDS:
        if fault.cause.startswith(beginning):
            return mend
    return ""


def fault_teller(fault: FaultRecord) -> str:
    """Say in one sentence what tells a place that is not certain, in a loop of the user's own."""
    if fault.unsure == ELSEWHERE:
        return "With stop_on_fault=True in every process, the one that made it names the place."
    if fault.unsure == SHARDED:
        return "Look at the inputs and the loss of every process."
    return f"{WATCH_LINE} tells the place."


def fault_message(fault: FaultRecord) -> str:
    """Say where the first non-finite value arose, for a warning or an error."""
    advice = fault_teller(fault) if fault.unsure else fault_mend(fault)
    return " ".join(filter(None, (fault_sentences(fault), advice)))


_MENDS = (
    ("the logarithm", "Take the logarithm of x.clamp_min(1e-8) instead."),
    ("log(1", "Keep x above -1 before log1p, for instance with x.clamp_min(-0.999)."),
    ("the square root", "Take the root of x.clamp_min(0) + 1e-8 instead."),
    ("1 / sqrt", "Add a small number such as 1e-8 to x before 1 / sqrt(x)."),
    ("0 / 0", "Add a small number such as 1e-8 to the denominator."),
    ("a division by 0", "Add a small number such as 1e-8 to the denominator."),
    ("1 / 0", "Add a small number such as 1e-8 to the denominator."),
    ("exp", "Subtract the largest value before exp, or limit x with x.clamp_max(80)."),
    ("eps is 0", "Give the normalisation an eps, such as its default of 1e-5."),
    ("a negative running", "Load or reset the running statistics: a variance is not negative."),
    ("attention with", "Leave at least one key unmasked in every row, or replace such rows."),
    ("a softmax over", "Leave at least one value unmasked in every row, or replace such rows."),
    ("the slope of the square", "Take the root of x + 1e-8: its slope stays finite."),
    ("the slope of the log", "Take the logarithm of x.clamp_min(1e-8), before any torch.where."),
    ("the derivative of a quotient", "Make the denominator 1 before the division where it is 0."),
    ("the standard deviation of", "Leave out batches of one, or pass unbiased=False."),
    ("the variance of", "Leave out batches of one, or pass unbiased=False."),
    ("the mean of no values", "Leave out the term if nothing is selected."),
    ("an overflow of float16", "Compute it in float32, outside autocast."),
    ("an overflow of bfloat16", "Compute it in float32, outside autocast."),
    ("the loop made its gradients", "Look at what clips or changes them before optimizer.step()."),
    ("the learning rate is", "Keep the learning rate finite in every step."),
    ("the update is too large", "Lower the learning rate."),
    ("eps=0", "Give the optimizer an eps, such as 1e-8."),
)


def _layer(fault: FaultRecord) -> str:
    return "the model itself" if fault.layer == "(model)" else f"layer `{fault.layer}`"


def _pass(fault: FaultRecord) -> str:
    if fault.forward_passes < 2:
        return ""
    number = fault.forward_pass
    text = f" in forward pass {number} of {fault.forward_passes}"
    return f"{text} (micro-batch {number} if gradients are accumulated),"


def _between(fault: FaultRecord) -> str:
    if not fault.after:
        return ""
    return f", between {_end(fault.after)} and {_end(fault.before)}"


def _end(name: str) -> str:
    return name if " " in name else f"`{name}`"
